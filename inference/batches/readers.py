"""A file as a sequence of items: JSONL, npz or Parquet. What cannot be read says where it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from django.conf import settings

from inference import sandbox
from inference.conversion import rows
from inference.conversion.documents import Bounds
from inference.documents import JsonObject, JsonView
from inference.errors import InvalidRequest, TooLarge
from webpool_site.telling.arguments import name_of

MOST_ITEMS: Final = 1_000_000
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".npz": "npz", ".parquet": "parquet"}
_NONE_FILLED: Final[Mapping[str, str]] = MappingProxyType({})
_WHERE: Final = {"jsonl": "line", "parquet": "row"}


@dataclasses.dataclass(frozen=True)
class RawItem:
    """One item as the file has it.

    Attributes:
        where: for people, such as "line 12".
        values: input name → array, or {"text": …}; None: it cannot be read.
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
            f"{name_of(path)}: expected a file that ends in {', '.join(FORMATS)}"
        ) from None


def read_items(
    path: Path, kind: str, types: Mapping[str, str], like: Mapping[str, str] = _NONE_FILLED
) -> Iterator[RawItem]:
    """The items in the file's order; it is read in the sandbox, a few items at a time.

    Args:
        types: ONNX type by name of the inputs that the model has. Names that it has not are in `values` too.
        like: of inputs that are filled in, the one whose shape each gets: an item is as large as with them.

    Raises:
        InvalidRequest: the file as a whole is not of that format, or an npz has items that are too large.
        TooLarge: it holds more than a job may.
    """
    try:
        yield from (_npz if kind == "npz" else _listed)(_read(path, kind, types, like), kind)
    except FileNotFoundError as error:
        raise InvalidRequest(f"{path}: no such file") from error
    except (OSError, ValueError, LookupError) as error:
        raise InvalidRequest(f"{name_of(path)}: cannot be read as {kind}: {error}") from error


def _npz(answers: Iterator[sandbox.Answer], kind: str) -> Iterator[RawItem]:
    number = 0
    for answer in answers:
        for index in range(answer.document["count"]):
            values = {name: array[index, ...] for name, array in answer.arrays.items()}
            yield RawItem(f"item {number}", values)
            number += 1


def _listed(answers: Iterator[sandbox.Answer], kind: str) -> Iterator[RawItem]:
    for answer in answers:
        values: list[JsonObject] = [dict(item["others"]) for item in answer.document["items"]]
        for place, array in answer.arrays.items():
            at, _, name = place.partition(":")
            values[int(at)][name] = array
        for item, each in zip(answer.document["items"], values, strict=True):
            error = item["error"]
            yield RawItem(f"{_WHERE[kind]} {item['number']}", None if error else each, error)


def _read(
    path: Path, kind: str, types: Mapping[str, str], like: Mapping[str, str]
) -> Iterator[sandbox.Answer]:
    """What a file holds, a few items at a time."""
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        with sandbox.opened(
            "rows",
            reads=[path],
            path=str(path.absolute()),
            kind=kind,
            rows=rows.__name__,
            types=dict(types),
            like=dict(like),
            most_bytes=settings.WEBPOOL_MAX_UPLOAD_MB * 2**20,
            most_row_bytes=settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
            most_items=MOST_ITEMS,
            bounds=dataclasses.asdict(Bounds.of_settings()),
        ) as session:
            while (answer := _next(session)).document is not None:
                yield answer
    except sandbox.Refused as error:
        if error.kind == "TooMuch":
            raise TooLarge(f"{name_of(path)}: {error}") from error
        raise


def _next(session: sandbox.Session) -> sandbox.Answer:
    """A long file takes its turn for each piece."""
    with sandbox.PLACES.taken():
        return session.ask()
