"""What the kernel says of a process in one line, for whoever looks at the same ones again and again.

psutil opens some four files to say as much, at several times the cost.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil


@dataclass(frozen=True)
class Stat:
    """A process now.

    Attributes:
        started: its start, which tells it from a later one of the same id: equal or not, no time.
        parent: its parent's id.
        stopped: by a signal; one that a debugger holds is not.
        ended: nobody has collected it yet (a zombie).
        rss_mb: its resident memory, shared pages in full, in MB (10^6 bytes).
    """

    started: float
    parent: int
    stopped: bool
    ended: bool
    rss_mb: float


_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
# proc(5), /proc/[pid]/stat: counted from the state, which follows the name and its bracket.
_STATE, _PARENT, _STARTED, _RSS = 0, 1, 19, 21


def stat(pid: int) -> Stat | None:
    """None: there is no such process."""
    if sys.platform != "linux":
        return _by_psutil(pid)
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = line[line.rindex(b")") + 2 :].split()
    state = fields[_STATE]
    return Stat(
        started=float(fields[_STARTED]),
        parent=int(fields[_PARENT]),
        stopped=state == b"T",
        ended=state in (b"Z", b"X"),
        rss_mb=int(fields[_RSS]) * _PAGE / 1e6,
    )


def _by_psutil(pid: int) -> Stat | None:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        status = process.status()
        return Stat(
            started=process.create_time(),
            parent=process.ppid(),
            stopped=status == psutil.STATUS_STOPPED,
            ended=status == psutil.STATUS_ZOMBIE,
            rss_mb=process.memory_info().rss / 1e6,
        )
    return None
