"""A fork whose child belongs to this process' parent, as if that one had forked it.

`os.fork` makes a child of this process. The fork server must not be the parent of the pool's processes:
their parent is told how they ended, and the kernel ends them with it. Linux' clone(2) can make a sibling
instead (CLONE_PARENT), which no function of Python or of the C library offers. What those do around a fork
is done here: Python's own hooks are called, and the kernel writes the C library's note of the thread's id
anew. What the C library does for other threads is left out: a process with more than one is refused.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
from typing import Final

# clone(2), prctl(2)
_CLONE_PARENT, _CHILD_CLEARTID, _CHILD_SETTID = 0x8000, 0x0020_0000, 0x0100_0000
_GET_TID_ADDRESS, _SET_DEATH_SIGNAL = 40, 1
_FLAGS: Final = _CLONE_PARENT | _CHILD_CLEARTID | _CHILD_SETTID | signal.SIGCHLD

_CLONE: Final = {"x86_64": (56, 3), "aarch64": (220, 4)}
"""By machine: the number of the call, and which of its arguments is the place of the child's id."""

_TRY_S: Final = 30.0
_SIBLING: Final = 7  # the exit code by which it is known


class NotAlone(RuntimeError):
    """This process has more than one thread: a copy of it would have locks that nobody releases."""


@functools.cache
def available() -> bool:
    """Whether this machine can do it, found by trying, once per process: not every kernel makes siblings."""
    if sys.platform != "linux" or os.uname().machine not in _CLONE or _note_of_id() is None:
        return False
    import subprocess  # the trial does without

    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", __file__], capture_output=True, timeout=_TRY_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def threads() -> int:
    """How many this process has, also those that libraries started."""
    with os.scandir("/proc/self/task") as found:
        return sum(1 for _ in found)


def fork_sibling() -> int:
    """Like `os.fork`: 0 in the child, whose parent is this process' parent; else the child's id.

    Raises:
        NotAlone: this process has more than one thread.
        OSError: the kernel has refused.
    """
    if threads() != 1:
        raise NotAlone(f"expected one thread in this process, found {threads()}: it cannot fork")
    number, place = _CLONE[os.uname().machine]
    arguments: list[int | None] = [_FLAGS, None, None, None, None]
    arguments[place] = _note_of_id()
    libc = ctypes.PyDLL(None, use_errno=True)  # keeps Python's lock, as os.fork does
    libc.syscall.restype = ctypes.c_long
    ctypes.pythonapi.PyOS_BeforeFork()
    pid: int = libc.syscall(ctypes.c_long(number), *map(ctypes.c_void_p, arguments))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    failed = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(failed, f"the kernel makes no sibling process: {os.strerror(failed)}")
    return pid


def die_with(parent: int) -> None:
    """Be killed when the parent ends; at once, without a word, where that is no longer `parent`."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _try() -> None:
    """Have a child make a sibling of itself, and collect both; an error where that fails."""
    if os.fork() == 0:
        try:
            made = fork_sibling()
        except OSError:
            os._exit(1)
        os._exit(0 if made else _SIBLING)
    ended = sorted(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(2))
    if ended != [0, _SIBLING]:
        raise SystemExit(1)


def _note_of_id() -> int | None:
    """Where the C library keeps this thread's id; None where the kernel does not tell."""
    found = ctypes.c_void_p()
    told = ctypes.CDLL(None).prctl(_GET_TID_ADDRESS, ctypes.byref(found), 0, 0, 0)
    return found.value if told == 0 else None


if __name__ == "__main__":
    _try()
