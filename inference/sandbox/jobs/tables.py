"""Files of items: JSON lines, npz and Parquet, read a few items at a time, within limits."""

from __future__ import annotations

import importlib
import itertools
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Protocol

from inference.documents import Array, JsonObject
from inference.sandbox import archives
from inference.sandbox.frames import Answer
from inference.sandbox.port_sizes import Count, filled_bytes, sent_bytes

if TYPE_CHECKING:
    import duckdb

_ROWS_AT_ONCE = 1024
_BYTES_AT_ONCE = 8 * 2**20
_NUMBER_BYTES = 8
_LETTER_BYTES = 4  # of numpy's text
_MOST_COLUMNS = 1024
_MOST_SHOWN = 5  # names of arrays in a refusal


class TooMuch(ValueError):
    """The file is larger when unpacked than may be, or has more items."""


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
        like: Mapping[str, str],
        most_bytes: int,
        most_row_bytes: int,
        most_items: int,
        bounds: Mapping[str, int],
    ) -> None:
        """`most_bytes` of the whole file, `most_row_bytes` of one item, both as the model's tensors.

        `like`: of inputs that are filled in, the one whose shape each gets: they are a part of an item.
        `rows`: the module that makes rows of the `types`, as `inference.conversion.rows` does.
        `bounds`: those of a line of JSON.
        """
        self._most, self._most_row, self._most_items = most_bytes, most_row_bytes, most_items
        self._rows: ModuleType = importlib.import_module(rows)
        self._types, self._like, self._bounds = types, like, bounds
        self._most_text = bounds["megabytes"] * 2**20
        parts = {"jsonl": self._jsonl, "npz": self._npz, "parquet": self._parquet}
        self._parts = parts[kind](Path(path))

    def __call__(self) -> Answer:
        try:
            return next(self._parts, Answer(None))
        except (OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(str(error)) from error

    def _npz(self, path: Path) -> Iterator[Answer]:
        with path.open("rb") as file:
            arrays = archives.read(file, check=self._check_members)
        total = len(next(iter(arrays.values()), ()))
        row_bytes = sum(array.nbytes for array in arrays.values()) // max(1, total)
        step = max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // max(1, row_bytes)))
        for start in range(0, total, step):
            part = {name: array[start : start + step] for name, array in arrays.items()}
            yield Answer({"count": min(step, total - start)}, part)

    def _check_members(self, members: Sequence[archives.Member]) -> None:
        """Refuse what the headers tell, before any array is made.

        Raises:
            ValueError: the arrays have not the same items, or too large ones.
            TooMuch: too many items, or too many bytes in all.
        """
        if scalar := next((member for member in members if not member.shape), None):
            raise ValueError(
                f"{scalar.name!r:.80} is a scalar; the first axis of each array is the items"
            )
        for text in (member for member in members if member.dtype.kind in "US"):
            letters = text.dtype.itemsize // (_LETTER_BYTES if text.dtype.kind == "U" else 1)
            _check_text(letters, self._most_text)
        if len({member.shape[0] for member in members}) > 1:
            shown = [f"{each.name:.80}: {each.shape[0]}" for each in members[:_MOST_SHOWN]]
            more = [f"and {len(members) - _MOST_SHOWN} more"] * (len(members) > _MOST_SHOWN)
            listed = ", ".join([*shown, *more])
            raise ValueError(f"the arrays' first axes, the items, differ in length ({listed})")
        total = members[0].shape[0] if members else 0
        self._check_items(total)
        each = max(1, total)
        item = {m.name: Count(m.values // each, m.nbytes // each) for m in members}
        sent = sent_bytes(item, self._types)
        if error := self._why_not_one(sent + filled_bytes(item, self._types, self._like)):
            raise ValueError(f"each item is too large: {error}")
        self._check_all(total * sent)

    def _jsonl(self, path: Path) -> Iterator[Answer]:
        most = self._bounds["megabytes"] * 2**20 + 1
        with path.open("rb") as file:
            self._check_items(_filled_lines(file, most, enough=self._most_items + 1))
        part = _Part()
        with path.open("rb") as file:
            for number, line in enumerate(_lines(file, most), start=1):
                if line.strip():
                    # One that was cut is refused for its length, whatever it ends with.
                    whole = line if len(line) == most else line.strip()
                    row = self._rows.from_line(whole, self._types, self._bounds)
                    part.add(number, row, len(line))
                    if part.full():
                        yield part.told()
        if part.items:
            yield part.told()

    def _parquet(self, path: Path) -> Iterator[Answer]:
        import duckdb

        # One core: the browsers need the others.
        with duckdb.connect(config={"threads": 1}) as connection:
            try:
                self._check_items(_told_rows(connection, path))
                # A folder called `year=2024` is no column.
                cursor = connection.execute(
                    "SELECT * FROM read_parquet([?], hive_partitioning=false)", [str(path)]
                )
                names = [column[0] for column in cursor.description or ()]
                if len(names) > _MOST_COLUMNS:
                    raise ValueError(f"expected at most {_MOST_COLUMNS} columns, got {len(names)}")
                number, unpacked, part = 0, 0, _Part()
                while (found := cursor.fetchone()) is not None:
                    number += 1
                    self._check_items(number)
                    # A column without a value is an input that was left out.
                    listed = zip(names, found, strict=True)
                    values = {name: value for name, value in listed if value is not None}
                    size, error = self._size(values)
                    unpacked += size
                    self._check_all(unpacked)
                    if error:
                        part.refuse(number, error)
                    else:
                        part.add(number, self._rows.from_values(values, self._types), size)
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
            item = {name: _counted(value, self._most_text) for name, value in values.items()}
        except (TypeError, _LongText) as odd:
            return 0, str(odd)
        sent = sent_bytes(item, self._types)
        return sent, self._why_not_one(sent + filled_bytes(item, self._types, self._like))

    def _why_not_one(self, size: int) -> str:
        """Why an item of so many bytes cannot be taken; empty: it can."""
        if size <= self._most_row:
            return ""
        return (
            f"the item has {size / 2**20:.0f} MB, the limit is {self._most_row / 2**20:.0f} MB "
            "(WEBPOOL_MAX_REQUEST_MB)"
        )

    def _check_items(self, count: int) -> None:
        """Refuse more items than a job may have."""
        if count > self._most_items:
            raise TooMuch(
                f"it holds more than {self._most_items:,} items: send them as several jobs"
            )

    def _check_all(self, size: int) -> None:
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

    def add(self, number: int, row: Row, size: int) -> None:
        """`size`: about the bytes that were read; strings are not counted in arrays of them."""
        at = len(self.items)
        self.items.append({"number": number, "others": dict(row.others), "error": row.error})
        self._arrays |= {f"{at}:{name}": array for name, array in row.arrays.items()}
        self._bytes += size + sum(array.nbytes for array in row.arrays.values())

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


def _filled_lines(file: IO[bytes], most: int, enough: int) -> int:
    """How many lines hold something, counted before any is parsed, and no further than `enough`."""
    lines = (line for line in _lines(file, most) if line.strip())
    return sum(1 for _ in itertools.islice(lines, enough))


def _told_rows(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    """How many rows a Parquet file's own description tells of."""
    query = "SELECT coalesce(sum(num_rows), 0) FROM parquet_file_metadata([?])"
    (count,) = connection.execute(query, [str(path)]).fetchone() or (0,)
    return int(count)


class _LongText(ValueError):
    """A text is longer than one in JSON may be."""


def _counted(value: object, most_text: int) -> Count:
    """How many values there are, and about how many bytes they have as a tensor.

    Raises:
        TypeError: it is nothing that a tensor holds, such as a date.
        _LongText.
    """
    values, nbytes, left = 0, 0, [value]
    while left:
        each = left.pop()
        if isinstance(each, list):
            left.extend(each)
            continue
        values += 1
        nbytes += _bytes(each, most_text)
    return Count(values, nbytes)


def _bytes(value: object, most_text: int) -> int:
    """Of one number or text; raises as `_counted`."""
    if value is None or isinstance(value, int | float):
        return _NUMBER_BYTES
    if not isinstance(value, str):
        raise TypeError(f"expected numbers, booleans, text or lists of them, got {value!r:.80}")
    size = len(value) if value.isascii() else len(value.encode())
    _check_text(size, most_text)
    return size


def _check_text(size: int, most: int) -> None:
    """Raises _LongText."""
    if size > most:
        raise _LongText(
            f"a text has {size / 2**20:.0f} MB, the limit is {most / 2**20:.0f} MB (WEBPOOL_MAX_JSON_MB)"
        )
