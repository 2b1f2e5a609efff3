"""A GGUF file: its metadata and where its tensors lie, checked against the file's size before any is read.

The format is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3,
little-endian.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, Final

import numpy as np

from inference.checkpoints.cursor import Cursor
from inference.checkpoints.gguf_types import TYPES, BlockType
from inference.documents import Array

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_ALIGNMENT: Final = 32
_MOST_DIMS: Final = 4
# Metadata types by their number: struct formats; 8 is a string, 9 an array.
_PLAIN: Final = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9


class BadGguf(ValueError):
    """The file is no GGUF file that can be read; says where and why."""


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies. `shape` is [rows, …, columns], as numpy has it."""

    name: str
    kind: BlockType
    shape: tuple[int, ...]
    offset: int
    nbytes: int


class GgufFile:
    """An opened file.

    Attributes:
        metadata: by key; arrays are lists.
        tensors: by name.

    Raises:
        BadGguf: truncated, of another format, or with tensors that lie outside it.
    """

    def __init__(self, path: Path) -> None:
        size = path.stat().st_size
        if not size:
            raise BadGguf("the file is empty; expected a GGUF file")
        self._bytes: Array = np.memmap(path, np.uint8, mode="r")
        self._reading = _Reading(self._bytes, BadGguf)
        count, pairs = self._header()
        self.metadata = dict(self._pair() for _ in range(pairs))
        infos = [self._info() for _ in range(count)]
        self.tensors = self._placed(infos, size)

    def _header(self) -> tuple[int, int]:
        reading = self._reading
        magic = bytes(reading.take(4, "the magic number"))
        if magic != _MAGIC:
            raise BadGguf(f"expected a file that begins with GGUF, got {magic!r}")
        version = reading.number("I", "the version")
        if version not in _VERSIONS:
            raise BadGguf(
                f"expected GGUF version 2 or 3, little-endian, got {version}; write it anew with "
                "llama.cpp's convert_hf_to_gguf.py"
            )
        count = reading.number("Q", "the number of tensors")
        pairs = reading.number("Q", "the number of metadata entries")
        # An entry takes at least 13 bytes, a tensor's description 24.
        if 24 * count + 13 * pairs > reading.left:
            raise BadGguf(
                f"it names {count} tensors and {pairs} metadata entries, more than its {reading.left} "
                "bytes can hold: it is truncated or damaged"
            )
        return count, pairs

    def _pair(self) -> tuple[str, Any]:
        key = self._reading.text("a metadata key")
        return key, self._reading.value(self._reading.number("I", key), key)

    def _info(self) -> tuple[str, tuple[int, ...], int, int]:
        reading = self._reading
        name = reading.text("a tensor's name")
        dims = reading.number("I", name)
        if not 1 <= dims <= _MOST_DIMS:
            raise BadGguf(f"tensor {name!r}: expected 1 to {_MOST_DIMS} dimensions, got {dims}")
        shape = tuple(reading.number("Q", name) for _ in range(dims))[::-1]
        return name, shape, reading.number("I", name), reading.number("Q", name)

    def _placed(
        self, infos: list[tuple[str, tuple[int, ...], int, int]], size: int
    ) -> dict[str, TensorInfo]:
        step = self.metadata.get("general.alignment", _ALIGNMENT)
        if not isinstance(step, int) or step < 1:
            raise BadGguf(f"general.alignment: expected a positive number, got {step!r}")
        begin = -(-self._reading.at // step) * step
        placed = {}
        for name, shape, number, offset in infos:
            kind = TYPES.get(number)
            if kind is None:
                raise BadGguf(f"tensor {name!r} has the unknown type {number}")
            if shape[-1] % kind.elements:
                raise BadGguf(
                    f"tensor {name!r}: rows of {shape[-1]} do not divide into {kind.name} blocks of "
                    f"{kind.elements}"
                )
            nbytes = math.prod(shape) // kind.elements * kind.nbytes
            if begin + offset + nbytes > size:
                raise BadGguf(
                    f"tensor {name!r} is said to end at byte {begin + offset + nbytes}, and the file has "
                    f"{size}: it is truncated or damaged"
                )
            placed[name] = TensorInfo(name, kind, shape, begin + offset, nbytes)
        if len(placed) != len(infos):
            raise BadGguf("two of its tensors have the same name")
        return placed

    def raw(self, info: TensorInfo) -> Array:
        """A tensor's bytes: uint8[rows, bytes of a row]."""
        rows = math.prod(info.shape[:-1])
        found: Array = self._bytes[info.offset : info.offset + info.nbytes]
        return found.reshape(rows, -1)


class _Reading(Cursor):
    """What metadata are made of."""

    def text(self, what: str) -> str:
        raw = bytes(self.take(self.number("Q", what), what))
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise BadGguf(f"{what} is no UTF-8 at byte {self.at}: {error.reason}") from error

    def value(self, kind: int, what: str) -> Any:
        if kind in _PLAIN:
            return self.number(_PLAIN[kind], what)
        if kind == _STRING:
            return self.text(what)
        if kind != _ARRAY:
            raise BadGguf(f"{what} has the unknown metadata type {kind}")
        inner, count = self.number("I", what), self.number("Q", what)
        if inner in _PLAIN:
            dtype = np.dtype("<" + _PLAIN[inner])
            return np.frombuffer(self.take(count * dtype.itemsize, what), dtype).tolist()
        if inner != _STRING:
            raise BadGguf(f"{what}: expected an array of numbers or strings, got type {inner}")
        if 8 * count > self.left:
            raise BadGguf(
                f"{what} names {count} strings, more than the {self.left} bytes left can hold: it is "
                "truncated or damaged"
            )
        return [self.text(what) for _ in range(count)]
