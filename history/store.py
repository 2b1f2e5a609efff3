"""The history file: the only module that imports duckdb.

DuckDB takes one writer, and while one holds the file nobody else may open it: only the history worker
calls this. Rows and the high-water mark are one transaction, so nothing is missing and nothing doubled.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

_SQL = Path(__file__).parent / "sql"


@dataclasses.dataclass(frozen=True)
class Observation:
    """One computation as measured; None where a value is not known.

    Attributes:
        source_id: rises with every observation; what was taken over is never taken again.
        latency_ms: the page's own compute time.
        extra: everything that has no column, as JSON.
    """

    source_id: int
    timestamp: datetime
    browser: str
    model_type: str
    model_name: str
    platform: str | None
    latency_ms: float | None
    memory_mb: float | None
    batch_size: int | None
    success: bool
    error_type: str | None
    extra: dict[str, Any]
    throughput_tokens_per_sec: float | None = None


class HistoryStore:
    """An open history file; use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._db = duckdb.connect(str(path))
        self._db.execute((_SQL / "schema.sql").read_text())

    def __enter__(self) -> HistoryStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def high_water_mark(self) -> int:
        """The `source_id` up to which everything was taken over."""
        row = self._db.execute("SELECT source_id FROM high_water_mark").fetchone()
        assert row is not None, "the schema puts one row there"
        return int(row[0])

    def count(self) -> int:
        row = self._db.execute("SELECT count(*) FROM browser_performance").fetchone()
        return int(row[0]) if row else 0

    def record(self, observations: Sequence[Observation]) -> int:
        """Take over new observations in one transaction; returns the new high-water mark."""
        mark = self.high_water_mark()
        fresh = [item for item in observations if item.source_id > mark]
        if not fresh:
            return mark
        columns = [field.name for field in dataclasses.fields(Observation)]
        self._db.execute("BEGIN")
        try:
            self._db.executemany(
                f"INSERT INTO browser_performance ({', '.join(columns)}) "
                f"VALUES ({', '.join('?' * len(columns))})",
                [_row(item) for item in fresh],
            )
            mark = max(item.source_id for item in fresh)
            self._db.execute("UPDATE high_water_mark SET source_id = ?", [mark])
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        return mark


def _row(item: Observation) -> list[Any]:
    values = {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    return [*{**values, "extra": json.dumps(item.extra)}.values()]
