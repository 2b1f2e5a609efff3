"""Process trees of browsers: listed, measured, killed."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from browsers.processes.containment import containment


def running(process: psutil.Process) -> bool:
    """Whether the process is there and not a zombie (stopped counts as running)."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def pid_namespace(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def session_of(pid: int) -> int | None:
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
    own = pid_namespace(os.getpid())
    spaces = {pid_namespace(pid) for pid in found} - {own, None}
    for process in psutil.process_iter():
        if process.pid in found:
            continue
        space = pid_namespace(process.pid) if spaces else None
        if (space is not None and space in spaces) or (session_of(process.pid) == root.pid):
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


def wait_ended(processes: Iterable[psutil.Process], *, timeout_s: float) -> list[psutil.Process]:
    """Give processes the time that they need to end; returns those that did not."""
    until = time.monotonic() + timeout_s
    while (alive := [p for p in processes if running(p)]) and time.monotonic() < until:
        time.sleep(0.005)
    return alive


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
            wait_ended([root], timeout_s=_bounded(until, _COLLECT_S))
        kill_all([root], deadline_s=_bounded(until, 1.0))
        note(tree(root))
        left = [process for process in known.values() if running(process)]
        if time.monotonic() >= until:
            break
    return left
