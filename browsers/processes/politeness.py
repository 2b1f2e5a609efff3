"""A browser that is repaired gives way to those that work: its processes are nice until it answers.

Linux weighs sessions against one another before it weighs the processes in them, where autogroups are on:
so the driver's session is made nice, too.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import psutil

_NICE: Final = 5  # a value that browsers do not use themselves
_PASSES: Final = 3  # threads may be born meanwhile


def prefix() -> tuple[str, ...]:
    """Before a command that is to be nice; empty where niceness could not be taken back afterwards."""
    if sys.platform != "linux":
        return ()
    allowed, _ = resource.getrlimit(resource.RLIMIT_NICE)  # 20 minus the lowest nice value
    may = os.geteuid() == 0 or allowed in (resource.RLIM_INFINITY, *range(20, 41))
    return ("nice", "-n", str(_NICE)) if may else ()


def begin(session: psutil.Process) -> None:
    """The whole session that this process leads gives way, where sessions are weighed."""
    _weigh_session(session, _NICE)


def give_way(processes: Iterable[psutil.Process]) -> bool:
    """Make running processes and their sessions nice; False: not done, for it could not be taken back."""
    if not prefix():
        return False
    _change(list(processes), 0, _NICE)
    return True


def at_full_speed(processes: Iterable[psutil.Process]) -> None:
    """Take it back, from their sessions and from every thread that still has it."""
    _change(list(processes), _NICE, 0)


def _change(processes: list[psutil.Process], before: int, after: int) -> None:
    for process in processes:
        _weigh_session(process, after)
    for _ in range(_PASSES):
        if not sum(_renice(process, before, after) for process in processes):
            return


def _weigh_session(process: psutil.Process, nice: int) -> None:
    with contextlib.suppress(OSError):  # no autogroups here, not allowed, or it has ended
        Path(f"/proc/{process.pid}/autogroup").write_text(str(nice))


def _renice(process: psutil.Process, before: int, after: int) -> bool:
    """Whether some thread had that niceness; a browser's own choices are left alone."""
    found = False
    with contextlib.suppress(psutil.Error, OSError):
        for thread in process.threads():
            with contextlib.suppress(OSError):  # it has ended
                if os.getpriority(os.PRIO_PROCESS, thread.id) == before:
                    os.setpriority(os.PRIO_PROCESS, thread.id, after)
                    found = True
    return found
