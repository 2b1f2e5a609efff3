"""Queries: each is a file in history/sql/, its parameters named there as $name."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import duckdb

_SQL = Path(__file__).parents[1] / "sql"


@functools.cache
def statement(name: str) -> str:
    return (_SQL / f"{name}.sql").read_text()


class Queries:
    """What the open file and a snapshot have in common."""

    _db: duckdb.DuckDBPyConnection

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """The result as mappings of column → value."""
        result = self._db.cursor().execute(statement(query), parameters)
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def arrays(self, query: str, **parameters: Any) -> dict[str, Any]:
        """The result as columns: numpy arrays, masked where values are missing."""
        return self._db.cursor().execute(statement(query), parameters).fetchnumpy()

    def progress(self) -> float:
        """How much of the query that runs now is done, in percent; negative when DuckDB cannot tell."""
        return float(self._db.query_progress())

    def copy_to(self, query: str, path: Path, options: str, **parameters: Any) -> int:
        """Write a result into a file; returns the number of rows."""
        target = str(path).replace("'", "''")
        result = self._db.execute(
            f"COPY ({statement(query)}) TO '{target}' ({options})", parameters
        )
        row = result.fetchone()
        return int(row[0]) if row else 0
