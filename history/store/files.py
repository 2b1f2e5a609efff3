"""JSON, CSV and Parquet files of samples: written from a snapshot, read row by row."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TextIO

import duckdb

from history.errors import Refused
from history.store.columns import COLUMNS
from history.store.snapshot import Snapshot
from webpool_site.telling.arguments import name_of

FORMATS: Final = ("json", "csv", "parquet")
TOTAL: Final = "rows_in_file"
"""A column of CSV files: without it nobody could tell that a file was cut between two rows."""

_NOTHING: Final = {"csv": ": no row after the header, so that it may have been cut off there"}
_OPTIONS: Final = {
    "json": "FORMAT json, ARRAY true",
    "csv": "FORMAT csv, HEADER true",
    "parquet": "FORMAT parquet, COMPRESSION zstd",
}
_BATCH: Final = 2000
_UTF8: Final = "utf-8-sig"  # spreadsheets begin their files with a byte order mark
_CHUNK: Final = 2**18


def write(
    snapshot: Snapshot,
    path: Path,
    file_format: str,
    progress: Callable[[float], object],
    **filters: Any,
) -> int:
    """Write the samples that the filters let through; returns how many. The file appears whole.

    `progress` is called with the percentage that is done.
    """
    query = "export_csv" if file_format == "csv" else "export"
    partial = path.with_name(f".{path.name}.partial")
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            progress(max(0.0, snapshot.progress()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        count = snapshot.copy_to(query, partial, _OPTIONS[file_format], **filters)
        partial.replace(path)
    finally:
        done.set()
        watcher.join()
        partial.unlink(missing_ok=True)
    progress(100.0)
    return count


def read(path: Path, file_format: str) -> Iterator[list[dict[str, Any]]]:
    """The rows of a file in batches.

    Raises:
        Refused: it cannot be read, has no row or is not whole, or has columns that history does not know.
    """
    found = False
    try:
        if path.stat().st_size == 0:
            raise Refused(f"{name_of(path)} is empty: expected a whole {file_format} file")
        for batch in _READERS[file_format](path):
            _check_columns(batch[0])
            found = True
            yield batch
    except RecursionError as error:
        raise Refused(
            f"{name_of(path)} is no {file_format} file: it is nested too deeply"
        ) from error
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror or error}") from error
    except (
        ValueError,
        csv.Error,
    ) as error:  # a JSONDecodeError is one, as is a number too long to read
        raise Refused(f"{name_of(path)} is not a whole {file_format} file: {error}") from error
    except duckdb.Error as error:
        raise Refused(
            f"{name_of(path)} is not a whole {file_format} file: {str(error).splitlines()[0]}"
        ) from error
    if not found:
        raise Refused(f"{name_of(path)} holds no samples{_NOTHING.get(file_format, '')}")


def _check_columns(row: dict[str, Any]) -> None:
    if unknown := [str(name) for name in row if name not in COLUMNS]:
        raise Refused(
            f"unknown columns {', '.join(unknown)}: expected some of {', '.join(COLUMNS)}"
        )


def _parquet(path: Path) -> Iterator[list[dict[str, Any]]]:
    path.open("rb").close()  # a missing file is told of in Python's words
    with contextlib.closing(duckdb.connect(":memory:")) as db:
        # A folder called `year=2024` is no column.
        query = "SELECT * FROM read_parquet(?, hive_partitioning=false)"
        result = db.execute(query, [str(path)])
        names = [column[0] for column in result.description]
        while rows := result.fetchmany(_BATCH):
            yield [dict(zip(names, row, strict=True)) for row in rows]


def _json(path: Path) -> Iterator[list[dict[str, Any]]]:
    """Not by DuckDB, which takes an array that was cut off for a shorter one."""
    with path.open(encoding=_UTF8) as file:
        elements = _elements(file)
        while batch := list(itertools.islice(elements, _BATCH)):
            if wrong := [one for one in batch if not isinstance(one, dict)]:
                raise Refused(
                    f"{name_of(path)}: expected objects in the array, got {wrong[0]!r:.80}"
                )
            yield batch


def _elements(file: TextIO) -> Iterator[Any]:
    """The elements of a JSON array, one after another; json.JSONDecodeError where it is not whole."""
    decoder = json.JSONDecoder()
    text, at, opened = "", 0, False
    while True:
        at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n," if opened else " \t\r\n"))
        if not opened and text[at : at + 1] == "[":
            opened, at = True, at + 1
            continue
        if opened and text[at : at + 1] == "]":
            if rest := (text[at + 1 :] + file.read(_CHUNK)).strip():
                raise json.JSONDecodeError("expected nothing after the array", rest, 0)
            return
        try:
            if at == len(text) or not opened:
                raise json.JSONDecodeError("expected a whole array", text, at)
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            more = file.read(_CHUNK)
            if not more:
                raise
            text, at = text[at:] + more, 0
        else:
            yield value


def _csv(path: Path) -> Iterator[list[dict[str, Any]]]:
    expected: int | None = None
    count = 0
    with path.open(newline="", encoding=_UTF8) as file:
        batch = []
        rows = csv.DictReader(file, strict=True)
        if not rows.fieldnames:
            raise Refused(f"{name_of(path)} has no header: expected the names of the columns")
        if len(set(rows.fieldnames)) < len(rows.fieldnames):
            raise Refused(f"{name_of(path)} names a column twice: {', '.join(rows.fieldnames)}")
        for row in rows:
            count += 1
            if None in row or None in row.values():
                raise Refused(
                    f"{name_of(path)}, row {count}: expected as many values as the header names; "
                    "the file is cut off or damaged"
                )
            total = row.pop(TOTAL, None)
            expected = int(total) if total and total.isdigit() else expected
            batch.append(row)
            if len(batch) == _BATCH:
                yield batch
                batch = []
    if expected is not None and expected != count:
        raise Refused(
            f"{name_of(path)} says that it has {expected} rows, but {count} are there: it was cut off"
        )
    if batch:
        yield batch


_READERS: Final[dict[str, Callable[[Path], Iterator[list[dict[str, Any]]]]]] = {
    "json": _json,
    "csv": _csv,
    "parquet": _parquet,
}
