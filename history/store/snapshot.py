"""The history for readers: a copy of the file, complete as of its modification time.

`history.snapshot` is a link to the newest copy. A new copy has a new name and the link is swapped by rename,
so that readers keep what they opened, as long as they like, and never meet a half-written file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from django.conf import settings

from history.errors import HistoryBusy
from history.store.reading import Queries, statement
from history.store.upgrade import is_current


def _link(path: Path) -> Path:
    """Beside the history file, named after it: `history.snapshot`."""
    return path.with_suffix(".snapshot")


class Snapshot(Queries):
    """The history as it was `as_of`; None when there is none yet: then every query finds nothing."""

    def __init__(self, db: duckdb.DuckDBPyConnection, as_of: datetime | None) -> None:
        self._db, self.as_of = db, as_of

    def age_s(self, now: datetime) -> float | None:
        return None if self.as_of is None else max(0.0, (now - self.as_of).total_seconds())


def publish(path: Path) -> bool:
    """Copy the file, closed and locked by the caller, for readers; False when they need none.

    They need none when nothing has changed: their copy is complete as of now. A file beyond 50 MB is not
    copied at every change, so that recording does not drown in copies: 100 MB at most every 10 s.
    """
    if renew(path):
        return False
    link = _link(path)
    now = time.time()
    size_mb = path.stat().st_size / 2**20
    with contextlib.suppress(FileNotFoundError):
        current = link.resolve(strict=True)
        if now - current.stat().st_mtime < size_mb / 5 - 10:
            return False
    copy = path.with_name(_name(path))
    shutil.copyfile(path, copy)
    os.utime(copy, (now, now))
    swapped = link.with_suffix(".snapshot.new")
    swapped.unlink(missing_ok=True)
    swapped.symlink_to(copy.name)
    swapped.replace(link)
    for old in path.parent.glob(f"{path.stem}.snapshot-*.duckdb"):
        if old != copy:
            old.unlink(missing_ok=True)
    return True


def renew(path: Path) -> bool:
    """Say of the copy that it is complete as of now; False: it is not one of the file as it is, or not there.

    The file is closed and locked by the caller.
    """
    try:
        current = _link(path).resolve(strict=True)
        if current.name != _name(path):
            return False
        os.utime(current)
    except FileNotFoundError:
        return False
    return True


def _name(path: Path) -> str:
    """Another one whenever the file has changed."""
    state = path.stat()
    return f"{path.stem}.snapshot-{state.st_mtime_ns}-{state.st_size}.duckdb"


_open: tuple[Path, duckdb.DuckDBPyConnection] | None = None
_opening = threading.Lock()


def latest(history: Path, *, memory_mb: int = 512) -> Snapshot:
    """The newest snapshot, opened once per process and copy; cheap to call for every query."""
    global _open
    while True:
        try:
            path = _link(history).resolve(strict=True)
            as_of = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except FileNotFoundError:
            if _link(history).is_symlink():
                continue  # swapped between two looks
            return _empty()
        with _opening:
            if _open is None or _open[0] != path:
                with contextlib.suppress(duckdb.IOException):  # swapped meanwhile: look again
                    _open = (path, _connect(path, memory_mb))
            if _open is not None and _open[0] == path:
                return Snapshot(_open[1], as_of)


def _connect(path: Path, memory_mb: int) -> duckdb.DuckDBPyConnection:
    config: dict[str, Any] = {"memory_limit": f"{memory_mb}MB"}
    db = duckdb.connect(str(path), read_only=True, config=config)
    if not is_current(db):
        db.close()
        raise HistoryBusy(
            f"{path} is of an older webpool: it is made anew when a pool starts, or now by "
            f"`{settings.WEBPOOL_PROGRAM} history --recompute`"
        )
    return db


def _empty() -> Snapshot:
    db = duckdb.connect(":memory:")
    db.execute(statement("schema"))
    return Snapshot(db, None)
