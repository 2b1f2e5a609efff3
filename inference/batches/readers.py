"""A file as a sequence of items: JSONL, npz or Parquet. What cannot be read says where it is."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings

from inference.batches.parquet import NotParquet, read_rows
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
    except (OSError, NotParquet, zipfile.BadZipFile, ValueError, EOFError) as error:
        raise InvalidRequest(f"{path.name}: cannot be read as {kind}: {error}") from error


def _jsonl(path: Path) -> Iterator[RawItem]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _json_item(f"line {number}", line)


def _json_item(where: str, line: bytes) -> RawItem:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:  # not UTF-8 is a ValueError too
        return RawItem(where, None, f"not JSON: {error}")
    if not isinstance(values, dict):
        found = type(values).__name__
        return RawItem(where, None, f"expected an object of input name → list, got {found}")
    return RawItem(where, values)


def _npz(path: Path) -> Iterator[RawItem]:
    with np.load(path, allow_pickle=False) as archive:
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is a single array; name the inputs: numpy.savez(file, x=…)")
        packed: Any = archive.zip
        _check_unpacked(path.name, sum(item.file_size for item in packed.infolist()))
        arrays = {name: archive[name] for name in archive.files}
    if scalars := [name for name, array in arrays.items() if not array.ndim]:
        raise ValueError(f"{scalars[0]!r} is a scalar; the first axis of each array is the items")
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise ValueError(f"the arrays' first axes, the items, differ in length ({listed})")
    for index in range(next(iter(counts.values()), 0)):
        yield RawItem(f"item {index}", {name: array[index, ...] for name, array in arrays.items()})


def _check_unpacked(name: str, size: int) -> None:
    """Refuse an archive that would fill the memory: it is read as a whole, and may be packed."""
    if size > settings.WEBPOOL_MAX_UPLOAD_MB * 2**20:
        raise TooLarge(
            f"{name}: {size / 2**20:.0f} MB when unpacked, the limit is "
            f"{settings.WEBPOOL_MAX_UPLOAD_MB} MB (WEBPOOL_MAX_UPLOAD_MB); use jsonl or parquet"
        )


def _parquet(path: Path) -> Iterator[RawItem]:
    if not path.exists():
        raise FileNotFoundError(path)
    for number, row in enumerate(read_rows(path), start=1):
        # A column without a value is an input that was left out.
        yield RawItem(f"row {number}", {k: v for k, v in row.items() if v is not None})
