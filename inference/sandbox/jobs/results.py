"""What a batch job's browsers answered, put together in the order of its items: JSON lines or npz.

A piece at a time: what is in memory is a few batches' results, however large the file becomes.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import numpy as np

from inference.documents import Array, JsonObject, JsonView
from inference.sandbox.frames import Answer

_MOST_KEPT: Final = (
    128 * 2**20
)  # bytes of results in memory: items of many shapes alternate between batches
_VALUES_AT_ONCE: Final = 2**15


def write(
    folder: str,
    target: str,
    kind: str,
    batches: Sequence[JsonView],
    ports: Sequence[JsonView],
    by_rows: bool,
    names: Mapping[str, str],
    arrays: Mapping[str, Array],
) -> Answer:
    """Write the results into `target`; answers {"longest": bytes of the longest line}.

    Args:
        folder: where the batches' files lie.
        kind: jsonl or npz. The first holds every item, those that failed with their error; the second
            those with a result: stacked, or as `<output>.<item>` where they differ in shape.
        batches: {"file" (None: it failed), "error", "count", "rows", "adds_axis"} of each.
        ports: {"name", "single": declared with a single row} of each output.
        by_rows: whether outputs have a row for each row.
        names: what the item's position and its error are called.
        arrays: `batch` and `at`, int64 [items]: the place of an item's batch in `batches`, and in that batch.

    Raises:
        ValueError: a batch's result cannot be read.
    """
    results = _Results(Path(folder), batches, ports, by_rows=by_rows)
    placed = list(zip(arrays["batch"].tolist(), arrays["at"].tolist(), strict=True))
    with Path(target).open("xb") as file:
        if kind == "npz":
            _write_npz(file, results, placed, names["item"])
            return Answer({"longest": 0})
        return Answer({"longest": _write_lines(file, results, placed, names)})


def split(
    outputs: Mapping[str, Array],
    single: Mapping[str, bool],
    *,
    count: int,
    rows: int,
    adds_axis: bool,
    by_rows: bool,
) -> list[dict[str, Array]]:
    """A batch's outputs as those of its `count` items, each with `rows` rows.

    Where the axis was added to the items it is taken from their results. A model whose outputs do not have
    a row for each row (`by_rows` False) has one item in a batch, and loses the axis of outputs declared to
    have a `single` row.
    """
    items: list[dict[str, Array]] = [{} for _ in range(count)]
    for name, array in outputs.items():
        if not by_rows:
            items[0][name] = array[0, ...] if adds_axis and single[name] else array
            continue
        for index, item in enumerate(items):
            part = array if count == 1 else array[index * rows : (index + 1) * rows]
            item[name] = part[0, ...] if adds_axis else part
    return items


def plain(array: Array) -> object:
    """An array as nested lists; NaN and infinities, which JSON lacks, as "nan", "inf" and "-inf"."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        listed = array.astype(object)
        odd = ~np.isfinite(array)
        listed[odd] = [str(float(value)) for value in array[odd]]
        return listed.tolist()
    return array.tolist()


class _Results:
    """The batches' results, the latest ones kept in memory."""

    def __init__(
        self, folder: Path, batches: Sequence[JsonView], ports: Sequence[JsonView], *, by_rows: bool
    ) -> None:
        self.batches = batches
        self.ports = [str(port["name"]) for port in ports]
        self._folder, self._by_rows = folder, by_rows
        self._single = {port["name"]: bool(port["single"]) for port in ports}
        self._kept: OrderedDict[tuple[int, str], tuple[list[dict[str, Array]], int]] = OrderedDict()

    def of(self, batch: int, at: int, port: str) -> Array:
        """One item's output."""
        if (batch, port) not in self._kept:
            array = self._read(batch, port, _whole)
            self._kept[batch, port] = self._split(batch, port, array), array.nbytes
            while len(self._kept) > 1 and sum(n for _, n in self._kept.values()) > _MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end((batch, port))
        return self._kept[batch, port][0][at][port]

    def shapes(self, batch: int, port: str) -> list[tuple[tuple[int, ...], np.dtype[np.generic]]]:
        """Shape and type of each item's output, from the head of the batch's file."""
        like = self._read(batch, port, _hollow)
        return [(item[port].shape, like.dtype) for item in self._split(batch, port, like)]

    def _split(self, batch: int, port: str, array: Array) -> list[dict[str, Array]]:
        facts = self.batches[batch]
        return split(
            {port: array},
            self._single,
            count=facts["count"],
            rows=facts["rows"],
            adds_axis=facts["adds_axis"],
            by_rows=self._by_rows,
        )

    def _read(self, batch: int, port: str, how: Callable[[IO[bytes]], Array]) -> Array:
        file = self.batches[batch]["file"]
        try:
            with (
                zipfile.ZipFile(self._folder / file) as archive,
                archive.open(f"{port}.npy") as member,
            ):
                return how(member)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"the result {file} cannot be read: {error}") from error


def _whole(member: IO[bytes]) -> Array:
    array: Array = np.lib.format.read_array(member, allow_pickle=False)
    return array


def _hollow(member: IO[bytes]) -> Array:
    """An array of that shape and type without bytes of its own."""
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, _, dtype = read[np.lib.format.read_magic(member)](member)
    return np.broadcast_to(np.zeros((), dtype), shape)


# --- JSON lines ---


def _write_lines(
    file: IO[bytes],
    results: _Results,
    placed: Sequence[tuple[int, int]],
    names: Mapping[str, str],
) -> int:
    longest = 0
    for item, (batch, at) in enumerate(placed):
        facts = results.batches[batch]
        line: JsonObject = {names["item"]: item}
        if facts["file"] is None:
            line[names["error"]] = facts["error"]
        written = file.write(_json(line)[:-1])
        if facts["file"] is not None:
            for port in results.ports:
                written += file.write(b", " + _json(port) + b": ")
                for piece in pieces(results.of(batch, at, port)):
                    written += file.write(piece)
        longest = max(longest, written + file.write(b"}\n"))
    return longest


def pieces(array: Array) -> Iterator[bytes]:
    """An array as JSON, a bounded number of values at a time."""
    if not array.ndim or array.size <= _VALUES_AT_ONCE:
        yield _json(plain(array))
        return
    step = max(1, _VALUES_AT_ONCE * len(array) // array.size)
    yield b"["
    for start in range(0, len(array), step):
        part = array[start : start + step]
        yield b", " if start else b""
        if step == 1:
            yield from pieces(part[0])
        else:
            yield _json(plain(part))[1:-1]
    yield b"]"


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


# --- npz ---


def _write_npz(
    file: IO[bytes], results: _Results, placed: Sequence[tuple[int, int]], item_name: str
) -> None:
    done = [
        (item, batch, at)
        for item, (batch, at) in enumerate(placed)
        if results.batches[batch]["file"] is not None
    ]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        items = np.array([item for item, *_ in done], np.int64)
        _member(archive, item_name, items.shape, items.dtype, [items])
        for port in results.ports:
            _write_port(archive, results, done, port)


def _write_port(
    archive: zipfile.ZipFile,
    results: _Results,
    done: Sequence[tuple[int, int, int]],
    port: str,
) -> None:
    heads = {batch: results.shapes(batch, port) for batch in {batch for _, batch, _ in done}}
    found = [heads[batch][at] for _, batch, at in done]
    each = (results.of(batch, at, port) for _, batch, at in done)
    if len({shape for shape, _ in found}) == 1:
        dtype = max((dtype for _, dtype in found), key=lambda one: one.itemsize)  # texts' lengths
        _member(archive, port, (len(done), *found[0][0]), dtype, each)
        return
    for (item, *_), array in zip(done, each, strict=True):
        _member(archive, f"{port}.{item}", array.shape, array.dtype, [array])


def _member(
    archive: zipfile.ZipFile,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    parts: Iterator[Array] | Sequence[Array],
) -> None:
    head = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, head)
        written = 0
        for part in parts:
            written += member.write(np.ascontiguousarray(part, dtype).tobytes())
    if written != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"output {name!r} has {written} bytes, expected those of {dtype}{shape}")
