"""A Celery worker says that it takes work: it writes its process id to WEBPOOL_READY_FILE.

Loaded by the workers with `--include webpool_site.children.readiness`. A browser's worker starts its browser
before it takes work, so that one mechanism serves all of them.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from celery.signals import worker_ready

VARIABLE = "WEBPOOL_READY_FILE"


def is_ready(path: Path, pid: int) -> bool:
    """Whether the process with that id, and not an earlier one, wrote the file."""
    try:
        return path.read_text() == str(pid)
    except OSError:
        return False


@worker_ready.connect(weak=False)
def say_ready(**_: Any) -> None:
    if path := os.environ.get(VARIABLE):
        Path(path).write_text(str(os.getpid()))


def show_life() -> None:
    """Say that what this process is there for gets on; see `silent_s`."""
    if path := os.environ.get(VARIABLE):
        with contextlib.suppress(FileNotFoundError):  # not ready yet
            os.utime(path)


def silent_s(path: Path) -> float | None:
    """Seconds since the process that wrote the file said that it is ready, or showed life."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return None
