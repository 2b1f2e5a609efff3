"""Results as Parquet, written in the sandbox: what browsers gave is a stranger's data, and takes its time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from inference import sandbox
from inference.store.scratch import scratch

_SQL_TYPES = {
    "float16": "FLOAT", "float32": "FLOAT", "float64": "DOUBLE",
    "int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT",
    "uint8": "UTINYINT", "uint16": "USMALLINT", "uint32": "UINTEGER", "uint64": "UBIGINT",
    "bool": "BOOLEAN", "string": "VARCHAR",
}  # fmt: skip


class NotParquet(ValueError):
    """Something cannot be written as Parquet; says what was found."""


def sql_type(dtype: str, rank: int) -> str:
    """`float32` with two axes is `FLOAT[][]`."""
    return _SQL_TYPES[dtype] + "[]" * rank


def from_jsonl(
    lines: Path,
    columns: Mapping[str, str],
    target: Path,
    *,
    longest: int,
    places: sandbox.Places = sandbox.PLACES,
) -> None:
    """Rewrite a file of JSON objects as Parquet with these columns (name → SQL type), in order.

    `longest` is the bytes of the longest line; `places`: what the sandbox waits for.

    Raises:
        NotParquet: such as columns whose names differ in case only, or more than the sandbox may take.
    """
    with scratch(target.parent, f".{target.name}.") as folder:
        made = folder / "made"
        try:
            sandbox.ask(
                "parquet",
                reads=[lines],
                writes=folder,
                places=places,
                lines=str(lines.absolute()),
                columns=dict(columns),
                target=str(made.absolute()),
                longest=longest,
            )
        except sandbox.Refused as error:
            raise NotParquet(str(error)) from error
        made.replace(target)
