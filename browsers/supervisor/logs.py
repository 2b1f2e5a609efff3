"""Logs of children: their ends, and keeping a few old ones."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

LOG_LIMIT_BYTES = 20 * 2**20
LOGS_KEPT = 3


def tail(path: Path, *, lines: int = 15) -> str:
    """The last lines of a log, at most 16 KiB of it."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"(no log: {error})"
    return "\n".join(text.splitlines()[-lines:])


def append(path: Path, text: str) -> None:
    """A line of the supervisor's own; a full disk that does not take it stops nobody."""
    with contextlib.suppress(OSError), path.open("a") as file:
        file.write(text)


def rotate(path: Path, *, only_above_bytes: int) -> None:
    """`x.log` is copied to `x.log.1`, and so on, and emptied; `LOGS_KEPT` old ones stay.

    A child goes on writing to the same file, which it has opened for appending.
    """
    if not path.exists() or path.stat().st_size <= only_above_bytes:
        return
    for number in range(LOGS_KEPT, 1, -1):
        older = path.with_name(f"{path.name}.{number - 1}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))
    shutil.copyfile(path, path.with_name(f"{path.name}.1"))
    os.truncate(path, 0)
