"""A history file of an older webpool gets the columns that it lacks."""

from __future__ import annotations

import duckdb

from history import vocabulary

_TABLE = "browser_performance"


def upgrade(db: duckdb.DuckDBPyConnection) -> None:
    """Add `blame`: what a failure counts against, by its `error_type`, as of a sample that does not say.

    Whether a failure was due to a caller's `strict` was not kept then. The view is made anew by the schema.
    """
    if is_current(db):
        return
    db.execute("BEGIN")
    db.execute("DROP VIEW IF EXISTS executions")
    db.execute(f"ALTER TABLE {_TABLE} ADD COLUMN blame VARCHAR")
    failed = db.execute(f"SELECT DISTINCT error_type FROM {_TABLE} WHERE NOT success").fetchall()
    for (error_type,) in failed:
        db.execute(
            f"UPDATE {_TABLE} SET blame = ? WHERE NOT success AND error_type IS NOT DISTINCT FROM ?",
            [vocabulary.blame_of(error_type), error_type],
        )
    db.execute("COMMIT")


def is_current(db: duckdb.DuckDBPyConnection) -> bool:
    """Whether the file has every column, or nothing yet."""
    columns = db.execute(
        "SELECT column_name FROM duckdb_columns() WHERE table_name = ?", [_TABLE]
    ).fetchall()
    return not columns or ("blame",) in columns
