"""Parquet is written by an in-memory DuckDB, which webpool has anyway: no second engine for one format.

Nothing here touches the history file, which has one writer: see history/store.py. DuckDB is imported when
it is needed: most processes never write Parquet.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

_SQL_TYPES = {
    "float16": "FLOAT", "float32": "FLOAT", "float64": "DOUBLE",
    "int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT",
    "uint8": "UTINYINT", "uint16": "USMALLINT", "uint32": "UINTEGER", "uint64": "UBIGINT",
    "bool": "BOOLEAN", "string": "VARCHAR",
}  # fmt: skip


class NotParquet(ValueError):
    """Something cannot be written as Parquet; says what was found."""


def _connect() -> duckdb.DuckDBPyConnection:
    import duckdb

    # One core: the browsers need the others.
    return duckdb.connect(config={"threads": 1})


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise NotParquet(str(error).splitlines()[0]) from error


def sql_type(dtype: str, rank: int) -> str:
    """`float32` with two axes is `FLOAT[][]`."""
    return _SQL_TYPES[dtype] + "[]" * rank


def from_jsonl(lines: Path, columns: Mapping[str, str], target: Path, *, longest: int) -> None:
    """Rewrite a file of JSON objects as Parquet with these columns (name → SQL type), in order.

    `longest` is the bytes of the longest line: DuckDB reserves a multiple of it.

    Raises:
        NotParquet: such as columns whose names differ in case only.
    """
    fields = ", ".join(f"{_quoted(name)}: {_quoted(kind)}" for name, kind in columns.items())
    with _connect() as connection, _translated():
        connection.execute(
            f"COPY (SELECT * FROM read_json({_quoted(str(lines))}, format='newline_delimited', "  # noqa: S608
            f"maximum_object_size={max(2**20, longest + 1)}, columns={{{fields}}})) "
            f"TO {_quoted(str(target))} (FORMAT parquet)"
        )


def _quoted(text: str) -> str:
    """A string in single quotes. COPY and read_json's `columns` take no parameters."""
    return "'" + text.replace("'", "''") + "'"
