"""A little-endian file read from the front, never beyond its end."""

from __future__ import annotations

import struct
from typing import Any

from inference.documents import Array


class Cursor:
    """Over the bytes of a file, uint8[size].

    Args:
        refusal: what is raised where fewer bytes are left than the file says.
    """

    def __init__(self, raw: Array, refusal: type[ValueError]) -> None:
        self._view, self._refusal = memoryview(raw), refusal  # type: ignore[arg-type]
        self.at = 0

    @property
    def left(self) -> int:
        """Bytes."""
        return len(self._view) - self.at

    def take(self, count: int, what: str) -> memoryview:
        """So many bytes; `what` they are, for who reads the refusal."""
        if count > self.left:
            raise self._refusal(
                f"{what} needs {count} bytes at byte {self.at}, and {self.left} are left: it is "
                "truncated or damaged"
            )
        self.at += count
        return self._view[self.at - count : self.at]

    def number(self, code: str, what: str) -> Any:
        """One of `struct`'s numbers."""
        (value,) = struct.unpack("<" + code, self.take(struct.calcsize("<" + code), what))
        return value
