"""Files of items: JSON lines, npz and Parquet, read a few items at a time, within limits."""

from __future__ import annotations

import importlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import IO, Protocol

from inference.documents import Array, JsonObject
from inference.sandbox import archives
from inference.sandbox.frames import Answer

_ROWS_AT_ONCE = 1024
_BYTES_AT_ONCE = 8 * 2**20
_NUMBER_BYTES = 8


class TooMuch(ValueError):
    """The file is larger when unpacked than may be."""


class Row(Protocol):
    """What `inference.conversion.rows` makes of an item."""

    @property
    def arrays(self) -> Mapping[str, Array]: ...
    @property
    def others(self) -> Mapping[str, str | None]: ...
    @property
    def error(self) -> str: ...


class Rows:
    """The items of a file; asked for the next ones until there are none.

    An answer's document is {"items": [{"number", "others", "error"}, …]} from JSON lines and Parquet, with
    their arrays as `<place in the list>:<name>`, and {"count", …} from npz, whose arrays have that many items
    each. None: that was all.
    """

    def __init__(
        self,
        path: str,
        kind: str,
        rows: str,
        types: Mapping[str, str],
        most_bytes: int,
        most_row_bytes: int,
        bounds: Mapping[str, int],
    ) -> None:
        """`most_bytes` of the whole file, `most_row_bytes` of one item, both unpacked.

        `rows`: the module that makes rows of the `types`, as `inference.conversion.rows` does.
        `bounds`: those of a line of JSON.
        """
        self._most, self._most_row = most_bytes, most_row_bytes
        self._rows: ModuleType = importlib.import_module(rows)
        self._types, self._bounds = types, bounds
        parts = {"jsonl": self._jsonl, "npz": self._npz, "parquet": self._parquet}
        self._parts = parts[kind](Path(path))

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

    def _jsonl(self, path: Path) -> Iterator[Answer]:
        most = self._bounds["megabytes"] * 2**20 + 1
        part = _Part()
        with path.open("rb") as file:
            for number, line in enumerate(_lines(file, most), start=1):
                if line.strip():
                    # One that was cut is refused for its length, whatever it ends with.
                    whole = line if len(line) == most else line.strip()
                    part.add(number, self._rows.from_line(whole, self._types, self._bounds))
                    if part.full():
                        yield part.told()
        if part.items:
            yield part.told()

    def _parquet(self, path: Path) -> Iterator[Answer]:
        import duckdb

        # One core: the browsers need the others.
        with duckdb.connect(config={"threads": 1}) as connection:
            try:
                cursor = connection.execute("SELECT * FROM read_parquet([?])", [str(path)])
                names = [column[0] for column in cursor.description or ()]
                number, unpacked, part = 0, 0, _Part()
                while (found := cursor.fetchone()) is not None:
                    number += 1
                    # A column without a value is an input that was left out.
                    listed = zip(names, found, strict=True)
                    values = {name: value for name, value in listed if value is not None}
                    size, error = self._size(values)
                    unpacked += size
                    self._count(unpacked)
                    if error:
                        part.refuse(number, error)
                    else:
                        part.add(number, self._rows.from_values(values, self._types))
                    if part.full():
                        yield part.told()
                if part.items:
                    yield part.told()
            except duckdb.OutOfMemoryException as error:
                raise MemoryError from error
            except duckdb.Error as error:
                raise ValueError(str(error).splitlines()[0]) from error

    def _size(self, values: JsonObject) -> tuple[int, str]:
        """About how many bytes an item has, and why it cannot be taken, if so."""
        try:
            size = sum(map(_bytes, values.values()))
        except TypeError as odd:
            return 0, str(odd)
        if size <= self._most_row:
            return size, ""
        return size, (
            f"the item has {size / 2**20:.0f} MB, the limit is {self._most_row / 2**20:.0f} MB "
            "(WEBPOOL_MAX_REQUEST_MB)"
        )

    def _count(self, size: int) -> None:
        """Refuse a file that unpacks to more than may be."""
        if size > self._most:
            raise TooMuch(
                f"{size / 2**20:.0f} MB when unpacked, the limit is {self._most / 2**20:.0f} MB "
                "(WEBPOOL_MAX_UPLOAD_MB)"
            )


class _Part:
    """The items of the next answer."""

    def __init__(self) -> None:
        self.items: list[JsonObject] = []
        self._arrays: dict[str, Array] = {}
        self._bytes = 0

    def add(self, number: int, row: Row) -> None:
        at = len(self.items)
        self.items.append({"number": number, "others": dict(row.others), "error": row.error})
        self._arrays |= {f"{at}:{name}": array for name, array in row.arrays.items()}
        self._bytes += sum(array.nbytes for array in row.arrays.values())
        self._bytes += sum(len(text or "") for text in row.others.values())

    def refuse(self, number: int, error: str) -> None:
        self.items.append({"number": number, "others": {}, "error": error})

    def full(self) -> bool:
        return len(self.items) == _ROWS_AT_ONCE or self._bytes > _BYTES_AT_ONCE

    def told(self) -> Answer:
        """The answer; the next one begins."""
        answer = Answer({"items": self.items}, self._arrays)
        self.items, self._arrays, self._bytes = [], {}, 0
        return answer


def _lines(file: IO[bytes], most: int) -> Iterator[bytes]:
    """The lines; no more of one that is too long than shows that it is."""
    while line := file.readline(most):
        yield line
        while len(line) == most and not line.endswith(b"\n"):
            line = file.readline(most)


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
