"""What a sandboxed child gives up before it looks at its job. Linux only, as the rest of webpool.

1. Limits of the kernel: what it may allocate, compute, write; no core dump; first to go when memory is short.
2. It dies with the helper, gets no new rights, and finds nothing in its working directory.
3. Where the kernel has Landlock: files may be read where Python and its libraries lie and where the job
   says, written in the job's folder alone; no TCP, no signals to others. Older kernels do without (3).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from inference.sandbox.giving_way import give_way

_PDEATHSIG, _NO_NEW_PRIVS = 1, 38
_MOST_OPEN_FILES = 256
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_BENEATH, _VERSION_ASKED = 1, 1
# Landlock's rights over files, by the bit; those that a file itself can have.
_READ, _WRITE = 0b1101, 0b111_1111_0010
_OF_FILES = 0b0111 | 1 << 14 | 1 << 15
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_ALL_RIGHTS: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP, _SCOPED = 0b11, 0b11
_OF_THE_SYSTEM: Final = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/urandom", "/sys/devices/system",
    "/sys/fs/cgroup", "/proc/cpuinfo", "/proc/meminfo", "/proc/self",
)  # fmt: skip
_OWN: Final = ("inference", "browsers")
_INSTALLED: Final = ("site-packages", "dist-packages")
_libc = ctypes.CDLL(None, use_errno=True)


def confine(
    *,
    memory_mb: int,
    cpu_s: int,
    file_bytes: int,
    reads: Iterable[str],
    writes: str | None,
    gives_way: bool,
    parent: int,
) -> None:
    """Take the calling process's rights away, for good.

    Args:
        memory_mb: of what it allocates beside what it has.
        cpu_s: of all its threads together.
        file_bytes: of one file that it writes.
        reads: files and folders that may be read.
        writes: a folder that may be written to.
        gives_way: whether others' work goes first.
        parent: the process that must not outlive it.

    Raises:
        OSError: a limit could not be set: the job must not be done.
    """
    _call(_libc.prctl, _PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise ProcessLookupError("the helper is gone")
    if gives_way:
        give_way()
    _call(_libc.prctl, _NO_NEW_PRIVS, 1, 0, 0, 0)
    os.umask(0o077)
    Path("/proc/self/oom_score_adj").write_text("1000")
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, cpu_s)
    _limit(resource.RLIMIT_FSIZE, file_bytes)
    _limit(resource.RLIMIT_NOFILE, _MOST_OPEN_FILES)
    # Data, not address space: libraries and what threads merely reserve are no memory.
    _limit(resource.RLIMIT_DATA, _data_bytes() + memory_mb * 2**20)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _landlock(reads, writes)


def _limit(what: int, value: int) -> None:
    _, most = resource.getrlimit(what)
    if most != resource.RLIM_INFINITY:
        value = min(value, most)
    resource.setrlimit(what, (value, value))


def _data_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def landlock_version() -> int:
    """Of the kernel's Landlock; below 1: it has none, or it is switched off."""
    return int(_libc.syscall(_CREATE_RULESET, None, 0, _VERSION_ASKED))


def _landlock(reads: Iterable[str], writes: str | None) -> None:
    version = landlock_version()
    if version < 1:
        return
    rights = _ALL_RIGHTS[max(known for known in _ALL_RIGHTS if known <= version)]
    described = struct.pack("<Q", rights)
    if version >= 4:
        described += struct.pack("<Q", _TCP)
    if version >= 6:
        described += struct.pack("<Q", _SCOPED)
    rules = _call(_libc.syscall, _CREATE_RULESET, described, len(described), 0)
    try:
        for path in (*_OF_THE_SYSTEM, *_libraries(), *reads):
            _allow(rules, path, _READ & rights)
        _allow(rules, os.devnull, (_READ | _WRITE) & rights)
        if writes is not None:
            _allow(rules, writes, (_READ | _WRITE | _REFER | _TRUNCATE) & rights)
        _call(_libc.syscall, _RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _libraries() -> Iterator[str]:
    """Where modules come from. A checkout has more beside them, such as the database."""
    yield from {sys.prefix, sys.base_prefix}
    for entry in filter(os.path.exists, sys.path):
        own = [Path(entry) / name for name in _OWN]
        if Path(entry).name in _INSTALLED:
            yield entry
            yield from _linked(entry)
        elif any(path.is_dir() for path in own):
            yield from map(str, own)
        else:
            yield entry


def _linked(folder: str) -> Iterator[str]:
    """What of it lies elsewhere: some installers link packages instead of copying them."""
    with os.scandir(folder) as entries:
        yield from (os.path.realpath(entry) for entry in entries if entry.is_symlink())


def _allow(rules: int, path: str, rights: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not Path(path).is_dir():
                rights &= _OF_FILES
            rule = struct.pack("<Qi", rights, descriptor)
            _call(_libc.syscall, _ADD_RULE, rules, _BENEATH, rule, 0)
        finally:
            os.close(descriptor)


def _call(function: Callable[..., int], *given: object) -> int:
    """A system call; raises OSError where it fails."""
    got = function(*given)
    if got < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return got
