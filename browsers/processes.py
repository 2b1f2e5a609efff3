"""Process trees of browsers: started so that they die with their worker, listed, measured, killed.

A browser is a driver, the browser proper and its children. Three nets catch them, because each alone
has holes:

1. The *container*: the driver is the first process of a PID namespace of its own and dies with the
   thread that started it (`setpriv --pdeathsig`), so the kernel ends everything, stopped or not.
   Where namespaces are refused, the driver still dies with its starter and has its own session.
2. `kill_all` ends a recorded tree: polite quits prove nothing.
3. `reap_orphans` finds by the marks in their environment what an earlier life left behind.

PDEATHSIG follows the *thread* that created the child, so every child is created by one thread that
lives as long as this process (`spawn`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from browsers.lifeline import available, dies_with_parent

MARK_PROFILE = "WEBPOOL_BROWSER"
"""Environment variable of a driver and its descendants: the browser's private directory."""

MARK_OWNER = "WEBPOOL_OWNER"
"""Environment variable of a driver and its descendants: `<pid>:<start>` of the process that owns it."""

MODE_VARIABLE = "WEBPOOL_CONTAINMENT"
"""Environment variable that chooses the container: `pid-namespace`, `user-namespace` or `session`."""

_UNSHARE = ("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
_TRY_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Containment:
    """How drivers are contained on this machine: found by trying, never assumed.

    `prefix` makes the driver the first process of a namespace. `namespace`: everything a driver started
    ends with it. `dies_with_owner`: the kernel kills the driver when its starter is gone; without it
    the leftovers of a killed worker stay until `reap_orphans`.
    """

    mode: str
    prefix: tuple[str, ...]
    namespace: bool
    dies_with_owner: bool
    note: str

    def wrap(self, command: Sequence[str]) -> list[str]:
        return [*dies_with_parent(), *self.prefix, *command]


def _works(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRY_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


_MODES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "pid-namespace": (
        _UNSHARE,
        "each driver leads a PID namespace and dies with its worker",
    ),
    "user-namespace": (
        (*_UNSHARE[:1], "--user", "--map-current-user", *_UNSHARE[1:]),
        "each driver leads a PID namespace made through a user namespace, and dies with its worker",
    ),
}


@functools.cache
def _containment(wanted: str) -> Containment:
    modes = [wanted] if wanted in _MODES else [] if wanted == "session" else list(_MODES)
    for mode in modes:
        prefix, note = _MODES[mode]
        if _works([*dies_with_parent(), *prefix, "true"]):
            return Containment(
                mode=mode, prefix=prefix, namespace=True, dies_with_owner=available(), note=note
            )
    if available() and _works([*dies_with_parent(), "true"]):
        return Containment(
            mode="session",
            prefix=(),
            namespace=False,
            dies_with_owner=True,
            note="no PID namespaces here: a driver dies with its worker, its browser may outlive both"
            " until it is reaped; allow unshare (CAP_SYS_ADMIN or user namespaces) for more",
        )
    return Containment(
        mode="session",
        prefix=(),
        namespace=False,
        dies_with_owner=False,
        note="neither setpriv nor unshare works here (Debian package util-linux): what a killed worker"
        " leaves is found by the reaper alone",
    )


def containment() -> Containment:
    """What works here, tried once per process; `WEBPOOL_CONTAINMENT` forces a weaker mode.

    ValueError when that variable names an unknown mode or one that does not work here.
    """
    wanted = os.environ.get(MODE_VARIABLE, "")
    if wanted and wanted != "session" and wanted not in _MODES:
        raise ValueError(
            f"{MODE_VARIABLE} must be one of {', '.join([*_MODES, 'session'])}, not {wanted!r}"
        )
    found = _containment(wanted)
    if wanted and found.mode != wanted:
        raise ValueError(f"{MODE_VARIABLE}={wanted} does not work on this machine; unset it")
    return found


@functools.cache
def user_namespaces() -> bool:
    """Whether an ordinary user may create working user namespaces: a browser's sandbox needs them."""
    return _works(
        ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "true"]
    )


# --- starting -------------------------------------------------------------------------------------


class _Spawner:
    """A thread that creates all children and outlives whoever asked: PDEATHSIG follows the thread."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="webpool-spawner", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._work.get()()

    def start(self, create: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        done = threading.Event()
        made: list[subprocess.Popen[bytes]] = []
        failed: list[BaseException] = []

        def job() -> None:
            try:
                made.append(create())
            except BaseException as error:
                failed.append(error)
            finally:
                done.set()

        self._work.put(job)
        done.wait()
        if failed:
            raise failed[0]
        return made[0]


_spawner: _Spawner | None = None
_spawner_lock = threading.Lock()


def _forget_spawner() -> None:
    """Threads do not survive a fork, and a lock held by one of them would stay held for ever."""
    global _spawner, _spawner_lock
    _spawner = None
    _spawner_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_spawner)


def spawn(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    log_path: Path,
    cwd: Path | None = None,
    contained: bool = True,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, stdout and stderr appended to `log_path`.

    `contained=False` leaves out the PID namespace (for a program that writes its process id where
    others read it) but keeps the death signal. OSError when the program cannot be started.
    """
    global _spawner
    rule = containment()
    if contained:
        wrapped = rule.wrap(command)
    else:
        wrapped = [*dies_with_parent(), *command]
    with _spawner_lock:
        if _spawner is None:
            _spawner = _Spawner()
        spawner = _spawner
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        return spawner.start(
            lambda: subprocess.Popen(
                wrapped,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
                pass_fds=tuple(pass_fds),
            )
        )


# --- identity -------------------------------------------------------------------------------------


def start_mark(pid: int) -> str | None:
    """When process `pid` started, as this system counts it; None when there is no such process."""
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    try:
        return str(int(psutil.Process(pid).create_time()))
    except psutil.Error:
        return None


def marks(profile_dir: Path) -> dict[str, str]:
    """The environment by which a later life recognises what this process started."""
    return {
        MARK_PROFILE: str(profile_dir.resolve()),
        MARK_OWNER: f"{os.getpid()}:{start_mark(os.getpid())}",
    }


def running(process: psutil.Process) -> bool:
    """Whether the process is there and not a zombie (stopped counts as running)."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


# --- trees ----------------------------------------------------------------------------------------


def _pid_namespace(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def tree(root: psutil.Process) -> list[psutil.Process]:
    """`root` and all that descends from it, also what was handed to another parent meanwhile.

    Adopted processes are found by the PID namespace (when the root's child leads one of its own) or
    by the session that the root leads. Zombies are left out.
    """
    found: dict[int, psutil.Process] = {}
    if running(root):
        found[root.pid] = root
        with contextlib.suppress(psutil.Error):
            found.update((child.pid, child) for child in root.children(recursive=True))
    own = _pid_namespace(os.getpid())
    spaces = {_pid_namespace(pid) for pid in found} - {own, None}
    for process in psutil.process_iter():
        if process.pid in found:
            continue
        space = _pid_namespace(process.pid) if spaces else None
        if (space is not None and space in spaces) or (_session(process.pid) == root.pid):
            found[process.pid] = process
    return [process for process in found.values() if running(process)]


def pss_mb(processes: Iterable[psutil.Process]) -> float | None:
    """Proportional set size of the processes together, in MB (10^6 bytes); None where unreadable.

    Processes that end while being read are left out; one that may not be read makes the sum unknown.
    """
    if sys.platform != "linux":
        return None
    total_kb = 0
    for process in processes:
        try:
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        except OSError:
            return None
        total_kb += sum(
            int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")
        )
    return total_kb * 1024 / 1e6


def kill_all(processes: Iterable[psutil.Process], *, deadline_s: float) -> list[psutil.Process]:
    """SIGKILL the processes (also stopped ones) and wait; returns those still there at the deadline."""
    alive = [process for process in processes if running(process)]
    until = time.monotonic() + deadline_s
    while alive:
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.01)
        alive = [process for process in alive if running(process)]
        if time.monotonic() >= until:
            break
    return alive


_COLLECT_S = 0.5
"""How long a container may take to notice that its driver has ended."""


def _bounded(until: float, most_s: float) -> float:
    return max(0.05, min(most_s, until - time.monotonic()))


def _wait_ended(process: psutil.Process, *, timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while running(process) and time.monotonic() < until:
        time.sleep(0.005)


def kill_tree(
    root: psutil.Process, recorded: Iterable[psutil.Process] = (), *, deadline_s: float
) -> list[psutil.Process]:
    """Kill `root`'s tree and what was recorded of it earlier, looking again until nothing is left.

    `root` goes last: a container that sees its driver end collects it, so that no zombie is left to
    whoever adopts orphans here. Returns those that could not be killed before the deadline.
    """
    until = time.monotonic() + deadline_s
    known: dict[tuple[int, float], psutil.Process] = {}

    def note(processes: Iterable[psutil.Process]) -> None:
        for process in processes:
            with contextlib.suppress(psutil.Error):
                known[process.pid, process.create_time()] = process

    note(process for process in recorded if running(process))
    note(tree(root))
    left = [process for process in known.values() if running(process)]
    while left:
        inner = [process for process in left if process != root]
        kill_all(inner, deadline_s=_bounded(until, 1.0))
        if inner and containment().namespace:
            with contextlib.suppress(psutil.Error):
                root.resume()
            _wait_ended(root, timeout_s=_bounded(until, _COLLECT_S))
        kill_all([root], deadline_s=_bounded(until, 1.0))
        note(tree(root))
        left = [process for process in known.values() if running(process)]
        if time.monotonic() >= until:
            break
    return left


# --- orphans --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Orphan:
    """A process of an earlier life that was killed; `gone` is False when even SIGKILL did not end it."""

    pid: int
    name: str
    profile_dir: str
    gone: bool


def _environment(pid: int) -> dict[str, str]:
    try:
        raw = psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return {}
    return {key: raw[key] for key in (MARK_PROFILE, MARK_OWNER) if key in raw}


def _owner_lives(mark: str) -> bool:
    pid, _, start = mark.partition(":")
    return pid.isdigit() and start_mark(int(pid)) == start


def _below(path: str, home: Path) -> bool:
    return Path(path).is_relative_to(home)


def find_orphans(home: Path) -> dict[psutil.Process, str]:
    """Processes of browsers below `home` whose owner is gone, with the browser's private directory.

    A process counts by its environment; its descendants, the rest of its session and of its PID
    namespace count with it, because browsers overwrite the environment of some of their children.
    """
    home = home.resolve()
    found: dict[psutil.Process, str] = {}
    own_session, own_space = _session(os.getpid()), _pid_namespace(os.getpid())
    sessions: dict[int, str] = {}
    spaces: dict[str, str] = {}
    everything = [p for p in psutil.process_iter() if p.pid != os.getpid()]
    for process in everything:
        mark = _environment(process.pid)
        profile, owner = mark.get(MARK_PROFILE, ""), mark.get(MARK_OWNER, "")
        if not profile or not _below(profile, home) or _owner_lives(owner):
            continue
        found[process] = profile
        session, space = _session(process.pid), _pid_namespace(process.pid)
        if session is not None and session != own_session:
            sessions[session] = profile
        if space is not None and space != own_space:
            spaces[space] = profile
        with contextlib.suppress(psutil.Error):
            for child in process.children(recursive=True):
                found.setdefault(child, profile)
    for process in everything if found else ():
        if process in found:
            continue
        session, space = _session(process.pid), _pid_namespace(process.pid)
        profile = sessions.get(session or -1, "") or spaces.get(space or "", "")
        if profile and not _owner_lives(_environment(process.pid).get(MARK_OWNER, "")):
            found[process] = profile
    return {process: profile for process, profile in found.items() if running(process)}


def reap_orphans(home: Path, *, deadline_s: float = 5.0) -> tuple[Orphan, ...]:
    """Kill what dead owners left running of browsers whose private directory is below `home`.

    Safe at any time: a process whose owner lives is never touched. Returns what was killed.
    """
    until = time.monotonic() + deadline_s
    killed: dict[psutil.Process, tuple[str, str]] = {}
    while orphans := find_orphans(home):
        for process, profile in orphans.items():
            try:
                name = process.name()
            except psutil.Error:
                name = ""
            killed.setdefault(process, (name, profile))
        kill_all(orphans, deadline_s=1.0)
        if time.monotonic() >= until:
            break
    return tuple(
        Orphan(pid=process.pid, name=name, profile_dir=profile, gone=not running(process))
        for process, (name, profile) in killed.items()
    )


def stop(process: subprocess.Popen[bytes], *, deadline_s: float) -> None:
    """End one child: SIGTERM, then SIGKILL at the deadline; returns when it is collected."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(deadline_s)
    if process.poll() is None:
        process.kill()
    process.wait()
