"""A CTranslate2 model.bin: its variables, checked against the file's size before any is read.

As ctranslate2's model_spec.py writes it, version 4 to 6, little-endian: the version, the name of the
architecture, its revision; the number of variables, each with its name, shape, type and bytes; then pairs of
names, the first of which is another name of the second's variable.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import DTypeLike

from inference.checkpoints.cursor import Cursor
from inference.documents import Array

_VERSIONS: Final = (4, 5, 6)
_BFLOAT16: Final = 5
_TYPES: Final[dict[int, DTypeLike]] = {
    0: np.float32,
    1: np.int8,
    2: np.int16,
    3: np.int32,
    4: np.float16,
    _BFLOAT16: np.uint16,
}
_LEAST: Final = 12  # bytes of a variable's description


class BadCtranslate2(ValueError):
    """The file is no CTranslate2 model that can be read; says where and why."""


@dataclasses.dataclass(frozen=True)
class Variable:
    """Where one lies, and the number of its type."""

    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def type_name(self) -> str:
        return "bfloat16" if self.kind == _BFLOAT16 else np.dtype(_TYPES[self.kind]).name


class Ctranslate2File:
    """An opened file.

    Attributes:
        architecture: such as WhisperSpec.
        variables: by name, aliases too.
        size: of the file, in bytes.

    Raises:
        BadCtranslate2: truncated, of another format, or with variables that are not as long as they say.
    """

    def __init__(self, path: Path) -> None:
        self.size = path.stat().st_size
        if not self.size:
            raise BadCtranslate2(f"{path.name} is empty; expected a CTranslate2 model")
        self._bytes: Array = np.memmap(path, np.uint8, mode="r")
        self._reading = Cursor(self._bytes, BadCtranslate2)
        version = self._reading.number("I", "the version")
        if version not in _VERSIONS:
            raise BadCtranslate2(
                f"{path.name}: expected a CTranslate2 model of version 4 to 6, got {version}: it is none, or "
                "is to be converted anew"
            )
        self.architecture = self._text("the architecture")
        self._reading.number("I", "the revision")
        self.variables = dict(self._variable() for _ in range(self._count("variables", _LEAST)))
        for _ in range(self._count("aliases", 4)):
            alias, name = self._text("an alias"), self._text("an alias")
            if name not in self.variables:
                raise BadCtranslate2(f"{alias!r} is said to be {name!r}, which is not there")
            self.variables[alias] = self.variables[name]

    def _count(self, what: str, least: int) -> int:
        count: int = self._reading.number("I", f"the number of {what}")
        if least * count > self._reading.left:
            raise BadCtranslate2(
                f"it names {count} {what}, more than its {self._reading.left} bytes can hold: it is "
                "truncated or damaged"
            )
        return count

    def _text(self, what: str) -> str:
        raw = bytes(self._reading.take(self._reading.number("H", what), what))
        try:
            return raw.rstrip(b"\0").decode()
        except UnicodeDecodeError as error:
            raise BadCtranslate2(f"{what} is no UTF-8: {error.reason}") from error

    def _variable(self) -> tuple[str, Variable]:
        name = self._text("a variable's name")
        rank = self._reading.number("B", name)
        shape = tuple(self._reading.number("I", name) for _ in range(rank))
        kind, nbytes = self._reading.number("B", name), self._reading.number("I", name)
        if kind not in _TYPES:
            raise BadCtranslate2(f"{name!r} has the unknown type {kind}")
        right = math.prod(shape) * np.dtype(_TYPES[kind]).itemsize
        if nbytes != right:
            raise BadCtranslate2(
                f"{name!r} of shape {list(shape)} takes {right} bytes, and is said to have {nbytes}"
            )
        offset = self._reading.at
        self._reading.take(nbytes, name)
        return name, Variable(shape, kind, offset)

    def array(self, name: str) -> Array:
        """A variable as it is; bfloat16 as float32.

        Raises:
            BadCtranslate2: there is none of that name.
        """
        one = self.variables.get(name)
        if one is None:
            raise BadCtranslate2(f"it lacks {name!r}: it is no whole model")
        dtype = np.dtype(_TYPES[one.kind])
        raw = self._bytes[one.offset : one.offset + math.prod(one.shape) * dtype.itemsize]
        found: Array = np.frombuffer(raw, dtype).reshape(one.shape)
        if one.kind == _BFLOAT16:
            return (found.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return found
