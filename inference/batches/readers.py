"""A file as a sequence of items: JSONL, npz or Parquet. What cannot be read says where it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from django.conf import settings

from inference.batches.parquet import NotParquet, read_rows
from inference.conversion import documents
from inference.errors import InvalidRequest, TooLarge
from inference.store import archives

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".npz": "npz", ".parquet": "parquet"}


@dataclasses.dataclass(frozen=True)
class RawItem:
    """One item as the file has it.

    Attributes:
        where: for people, such as "line 12".
        values: input name → nested list or array, or {"text": …}; None: it cannot be read.
        error: why not.
    """

    where: str
    values: Mapping[str, Any] | None
    error: str = ""


def format_of(path: Path) -> str:
    """jsonl, npz or parquet, by the file's extension.

    Raises:
        InvalidRequest: another one.
    """
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise InvalidRequest(
            f"{path.name}: expected a file that ends in {', '.join(FORMATS)}"
        ) from None


def read_items(path: Path, kind: str) -> Iterator[RawItem]:
    """The items in the file's order.

    Raises:
        InvalidRequest: the file as a whole is not of that format.
    """
    try:
        yield from {"jsonl": _jsonl, "npz": _npz, "parquet": _parquet}[kind](path)
    except FileNotFoundError as error:
        raise InvalidRequest(f"{path}: no such file") from error
    except (OSError, NotParquet, ValueError) as error:
        raise InvalidRequest(f"{path.name}: cannot be read as {kind}: {error}") from error


def _jsonl(path: Path) -> Iterator[RawItem]:
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file), start=1):
            if line.strip():
                yield _json_item(f"line {number}", line)


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines; no more of one that is too long than shows that it is."""
    most = documents.most_bytes() + 1
    while line := file.readline(most):
        yield line
        while len(line) == most and not line.endswith(b"\n"):
            line = file.readline(most)


def _json_item(where: str, line: bytes) -> RawItem:
    try:
        values = documents.parse(line.strip())
    except InvalidRequest as error:
        return RawItem(where, None, str(error))
    if not isinstance(values, dict):
        found = type(values).__name__
        return RawItem(where, None, f"expected an object of input name → list, got {found}")
    return RawItem(where, values)


def _npz(path: Path) -> Iterator[RawItem]:
    most = settings.WEBPOOL_MAX_UPLOAD_MB * 2**20
    try:
        with path.open("rb") as file:
            arrays = archives.read(file, most_bytes=most)
    except archives.ArchiveTooLarge as error:
        raise TooLarge(
            f"{path.name}: {error.size / 2**20:.0f} MB when unpacked, the limit is "
            f"{settings.WEBPOOL_MAX_UPLOAD_MB} MB (WEBPOOL_MAX_UPLOAD_MB); use jsonl or parquet"
        ) from None
    if scalars := [name for name, array in arrays.items() if not array.ndim]:
        raise ValueError(f"{scalars[0]!r} is a scalar; the first axis of each array is the items")
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise ValueError(f"the arrays' first axes, the items, differ in length ({listed})")
    for index in range(next(iter(counts.values()), 0)):
        yield RawItem(f"item {index}", {name: array[index, ...] for name, array in arrays.items()})


def _parquet(path: Path) -> Iterator[RawItem]:
    if not path.exists():
        raise FileNotFoundError(path)
    for number, row in enumerate(read_rows(path), start=1):
        # A column without a value is an input that was left out.
        yield RawItem(f"row {number}", {k: v for k, v in row.items() if v is not None})
