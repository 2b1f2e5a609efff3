"""Files that are packed: npz and Parquet, unpacked a few items at a time, within limits."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from inference.documents import JsonObject
from inference.sandbox import archives
from inference.sandbox.frames import Answer

_ROWS_AT_ONCE = 1024
_BYTES_AT_ONCE = 8 * 2**20
_NUMBER_BYTES = 8


class TooMuch(ValueError):
    """The file is larger when unpacked than may be."""


class Rows:
    """The items of a file; asked for the next ones until there are none.

    An answer's document is {"items": [{"number", "values", "error"}, …]} from Parquet, and {"count", …} from
    npz, whose arrays have that many items each. None: that was all.
    """

    def __init__(self, path: str, kind: str, most_bytes: int, most_row_bytes: int) -> None:
        """`most_bytes` of the whole file, `most_row_bytes` of one item, both unpacked."""
        self._most, self._most_row = most_bytes, most_row_bytes
        self._parts = {"npz": self._npz, "parquet": self._parquet}[kind](Path(path))

    def __call__(self) -> Answer:
        try:
            return next(self._parts, Answer(None))
        except (OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(str(error)) from error

    def _npz(self, path: Path) -> Iterator[Answer]:
        with path.open("rb") as file:
            arrays = archives.read(file, check_size=self._count)
        if scalars := [name for name, array in arrays.items() if not array.ndim]:
            raise ValueError(
                f"{scalars[0]!r} is a scalar; the first axis of each array is the items"
            )
        counts = {name: len(array) for name, array in arrays.items()}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
            raise ValueError(f"the arrays' first axes, the items, differ in length ({listed})")
        total = next(iter(counts.values()), 0)
        row_bytes = sum(array.nbytes for array in arrays.values()) // max(1, total)
        step = max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // max(1, row_bytes)))
        for start in range(0, total, step):
            part = {name: array[start : start + step] for name, array in arrays.items()}
            yield Answer({"count": min(step, total - start)}, part)

    def _parquet(self, path: Path) -> Iterator[Answer]:
        import duckdb

        # One core: the browsers need the others.
        with duckdb.connect(config={"threads": 1}) as connection:
            try:
                cursor = connection.execute("SELECT * FROM read_parquet([?])", [str(path)])
                names = [column[0] for column in cursor.description or ()]
                number, unpacked, sent, items = 0, 0, 0, []
                while (row := cursor.fetchone()) is not None:
                    number += 1
                    item, size = self._item(number, dict(zip(names, row, strict=True)))
                    items.append(item)
                    unpacked += size
                    self._count(unpacked)
                    if len(items) == _ROWS_AT_ONCE or unpacked - sent > _BYTES_AT_ONCE:
                        yield Answer({"items": items})
                        items, sent = [], unpacked
                if items:
                    yield Answer({"items": items})
            except duckdb.OutOfMemoryException as error:
                raise MemoryError from error
            except duckdb.Error as error:
                raise ValueError(str(error).splitlines()[0]) from error

    def _item(self, number: int, row: JsonObject) -> tuple[JsonObject, int]:
        # A column without a value is an input that was left out.
        values = {name: value for name, value in row.items() if value is not None}
        try:
            size = sum(map(_bytes, values.values()))
            if size <= self._most_row:
                return {"number": number, "values": values, "error": ""}, size
            error = (
                f"the item has {size / 2**20:.0f} MB, the limit is {self._most_row / 2**20:.0f} MB "
                "(WEBPOOL_MAX_REQUEST_MB)"
            )
        except TypeError as odd:
            size, error = 0, str(odd)
        return {"number": number, "values": None, "error": error}, size

    def _count(self, size: int) -> None:
        """Refuse a file that unpacks to more than may be."""
        if size > self._most:
            raise TooMuch(
                f"{size / 2**20:.0f} MB when unpacked, the limit is {self._most / 2**20:.0f} MB "
                "(WEBPOOL_MAX_UPLOAD_MB)"
            )


def _bytes(value: object) -> int:
    """About how many bytes a value has as a tensor.

    Raises:
        TypeError: it is nothing that a tensor holds, such as a date.
    """
    if isinstance(value, list):
        return sum(map(_bytes, value))
    if isinstance(value, str):
        return len(value)
    if value is None or isinstance(value, int | float):
        return _NUMBER_BYTES
    raise TypeError(f"expected numbers, booleans, text or lists of them, got {value!r:.80}")
