"""A Celery worker says that it takes work: it writes its process id to WEBPOOL_READY_FILE.

Loaded by the workers with `--include webpool_site.readiness`. A browser's worker starts its browser
before it takes work, so that one mechanism serves all of them.
"""

from __future__ import annotations

import os
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
