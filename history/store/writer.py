"""Writing the history file: one process at a time, each change one transaction."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb

from history import vocabulary
from history.core.samples import Observation
from history.errors import HistoryBusy, HistoryError
from history.store import snapshot
from history.store.columns import COLUMNS, arrays, expressions, plain_arrays
from history.store.reading import Queries, statement
from history.store.upgrade import upgrade

_STAGING: Final = "import-"


class HistoryStore(Queries):
    """The open history file; use as a context manager. Waits up to `patience_s` for another writer.

    Raises:
        HistoryBusy: another process held it all the time.
    """

    def __init__(self, path: Path, *, patience_s: float = 30.0, memory_mb: int = 1024) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock: int | None = _lock(path.with_suffix(".lock"), patience_s)
        try:
            self._db = _connect(path, patience_s, memory_mb)
            upgrade(self._db)
            self._db.execute(statement("schema"))
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> HistoryStore:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, copy it for readers, and let others write."""
        try:
            self._db.close()
            snapshot.publish(self.path)
        finally:
            self.close()

    @classmethod
    def renew_copy(cls, path: Path) -> bool:
        """Say of the readers' copy that it is complete as of now; False: it is not one of the file as it is.

        False, too, while another process writes.
        """
        if not path.exists():
            return False
        try:
            lock = _lock(path.with_suffix(".lock"), 0.0)
        except HistoryBusy:
            return False
        try:
            return snapshot.renew(path)
        finally:
            os.close(lock)

    def close(self) -> None:
        """Close the file without a copy for readers. Idempotent."""
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def high_water_mark(self, source: str) -> int:
        """The number up to which everything of a source was taken over."""
        row = self._db.execute(
            "SELECT source_id FROM high_water_mark WHERE source = ?", [source]
        ).fetchone()
        return int(row[0]) if row else 0

    def count(self) -> int:
        row = self._db.execute("SELECT count(*) FROM browser_performance").fetchone()
        return int(row[0]) if row else 0

    def record(
        self, observations: Sequence[Observation], *, marks: Mapping[str, int] | None = None
    ) -> int:
        """Add what is not there yet, and raise marks, in one transaction; returns how many were new."""
        with self.transaction():
            added = self._insert(observations) if observations else 0
            for source, source_id in (marks or {}).items():
                self._db.execute(
                    "INSERT INTO high_water_mark VALUES (?, ?) "
                    "ON CONFLICT DO UPDATE SET source_id = greatest(source_id, excluded.source_id)",
                    [source, source_id],
                )
        return added

    def _insert(self, observations: Sequence[Observation]) -> int:
        incoming = arrays([_blamed(one) for one in observations])  # noqa: F841  DuckDB finds it by name
        row = self._db.execute(
            f"INSERT INTO browser_performance ({', '.join(COLUMNS)}) "
            f"SELECT {expressions()} FROM incoming ON CONFLICT DO NOTHING"
        ).fetchone()
        return int(row[0]) if row else 0

    @classmethod
    @contextlib.contextmanager
    def temporary(cls, beside: Path) -> Iterator[HistoryStore]:
        """An empty history in the folder of the real one, gone afterwards."""
        beside.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=beside.parent, prefix=_STAGING) as name:
            store = cls(Path(name) / "staging.duckdb")
            try:
                yield store
            finally:
                store.close()

    def add_all_of(self, other: HistoryStore) -> int:
        """Add what another file has and this one has not, in one transaction; closes the other one."""
        _remove_abandoned(self.path.parent)
        other.close()
        quoted = str(other.path).replace("'", "''")
        self._db.execute(f"ATTACH '{quoted}' AS other (READ_ONLY)")
        try:
            with self.transaction():
                row = self._db.execute(
                    f"INSERT INTO browser_performance ({', '.join(COLUMNS)}) SELECT "
                    f"{', '.join(COLUMNS)} FROM other.browser_performance ON CONFLICT DO NOTHING"
                ).fetchone()
        finally:
            self._db.execute("DETACH other")
        return int(row[0]) if row else 0

    def replace(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Exchange all rows of a table of what was computed; call within `transaction`."""
        self._db.execute(f"DELETE FROM {table}")
        if rows:
            incoming = plain_arrays(rows)  # noqa: F841  DuckDB reads the variable by its name
            names = ", ".join(rows[0])
            self._db.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM incoming")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing."""
        self._db.execute("BEGIN")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise


def _connect(path: Path, patience_s: float, memory_mb: int) -> duckdb.DuckDBPyConnection:
    """Open the file; somebody who reads it with DuckDB's own tools keeps it from being opened here."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return duckdb.connect(str(path), config={"memory_limit": f"{memory_mb}MB"})
        except duckdb.IOException as error:
            if "lock" not in str(error):
                raise HistoryError(
                    f"{path} cannot be opened: {str(error).splitlines()[0]}"
                ) from error
            if time.monotonic() > deadline:
                raise HistoryBusy(
                    f"another process has {path} open: close it, or read the copy "
                    f"{path.with_suffix('.snapshot')}, and try again"
                ) from error
            time.sleep(0.1)


def _blamed(one: Observation) -> Observation:
    """A failure says what it counts against; a success blames nobody."""
    blame = None if one.success else one.blame or vocabulary.blame_of(one.error_type)
    return one if blame == one.blame else dataclasses.replace(one, blame=blame)


def _remove_abandoned(folder: Path) -> None:
    """What imports left that were killed; called by who holds the history's own lock.

    A living import holds its file's lock until it has that of the history.
    """
    for lock in folder.glob(f"{_STAGING}*/*.lock"):
        with contextlib.suppress(HistoryBusy):
            os.close(_lock(lock, 0.0))
            shutil.rmtree(lock.parent, ignore_errors=True)


def _lock(path: Path, patience_s: float) -> int:
    """A descriptor that holds the lock until it is closed, at the latest by the process' end."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise HistoryBusy(
                    f"another process has written to {path.with_suffix('.duckdb')} for "
                    f"{patience_s:g} s: try again when it is done"
                ) from None
            time.sleep(0.02)
        else:
            return descriptor
