"""Parquet is written by an in-memory DuckDB, which webpool has anyway: no second engine for one format.

Nothing here touches the history file, which has one writer: see history/store.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from inference.sandbox.frames import Answer


def write(lines: str, columns: Mapping[str, str], target: str, longest: int) -> Answer:
    """Rewrite a file of JSON objects as Parquet with these columns (name → SQL type), in order.

    `longest` is the bytes of the longest line: DuckDB reserves a multiple of it.

    Raises:
        ValueError: such as columns whose names differ in case only.
    """
    import duckdb

    fields = ", ".join(f"{_quoted(name)}: {_quoted(kind)}" for name, kind in columns.items())
    # One core: the browsers need the others.
    with duckdb.connect(config={"threads": 1}) as connection:
        try:
            connection.execute(
                f"COPY (SELECT * FROM read_json({_quoted(lines)}, format='newline_delimited', "  # noqa: S608
                # A folder called `year=2024` is no column.
                "hive_partitioning=false, "
                f"maximum_object_size={max(2**20, longest + 1)}, columns={{{fields}}})) "
                f"TO {_quoted(target)} (FORMAT parquet)"
            )
        except duckdb.OutOfMemoryException as error:
            raise MemoryError from error
        except duckdb.Error as error:
            raise ValueError(str(error).splitlines()[0]) from error
    return Answer(None)


def _quoted(text: str) -> str:
    """A string in single quotes. COPY and read_json's `columns` take no parameters."""
    return "'" + text.replace("'", "''") + "'"
