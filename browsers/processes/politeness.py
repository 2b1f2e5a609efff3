"""A browser that is started again gives way to those that work: its processes are nice until it answers."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterable
from typing import Final

import psutil

_NICE: Final = 7  # a value that browsers do not use themselves
_PASSES: Final = 3  # threads may be born meanwhile


def prefix() -> tuple[str, ...]:
    """Before a command that is to be nice; empty where niceness could not be taken back afterwards."""
    if sys.platform != "linux":
        return ()
    allowed, _ = resource.getrlimit(resource.RLIMIT_NICE)  # 20 minus the lowest nice value
    may = os.geteuid() == 0 or allowed in (resource.RLIM_INFINITY, *range(20, 41))
    return ("nice", "-n", str(_NICE)) if may else ()


def at_full_speed(processes: Iterable[psutil.Process]) -> None:
    """Take it back, from every thread that still has it."""
    known = list(processes)
    for _ in range(_PASSES):
        if not sum(map(_take_back, known)):
            return


def _take_back(process: psutil.Process) -> bool:
    """Whether some thread was nice."""
    found = False
    with contextlib.suppress(psutil.Error, OSError):
        for thread in process.threads():
            with contextlib.suppress(OSError):  # it has ended
                if os.getpriority(os.PRIO_PROCESS, thread.id) == _NICE:
                    os.setpriority(os.PRIO_PROCESS, thread.id, 0)
                    found = True
    return found
