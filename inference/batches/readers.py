"""A file as a sequence of items: JSONL, npz or Parquet. What cannot be read says where it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from django.conf import settings

from inference import sandbox
from inference.conversion import documents
from inference.documents import JsonView
from inference.errors import InvalidRequest, TooLarge

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
    values: JsonView | None
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
    except (OSError, ValueError) as error:
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
    number = 0
    for answer in _unpacked(path, "npz"):
        for index in range(answer.document["count"]):
            values = {name: array[index, ...] for name, array in answer.arrays.items()}
            yield RawItem(f"item {number}", values)
            number += 1


def _parquet(path: Path) -> Iterator[RawItem]:
    for answer in _unpacked(path, "parquet"):
        for item in answer.document["items"]:
            yield RawItem(f"row {item['number']}", item["values"], item["error"])


def _unpacked(path: Path, kind: str) -> Iterator[sandbox.Answer]:
    """What a packed file holds, a few items at a time; unpacked in the sandbox."""
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        with sandbox.opened(
            "rows",
            reads=[path],
            path=str(path.absolute()),
            kind=kind,
            most_bytes=settings.WEBPOOL_MAX_UPLOAD_MB * 2**20,
            most_row_bytes=settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
        ) as session:
            while (answer := session.ask()).document is not None:
                yield answer
    except sandbox.Refused as error:
        if error.kind == "TooMuch":
            raise TooLarge(f"{path.name}: {error}") from error
        raise
