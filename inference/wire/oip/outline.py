"""How much a gRPC message would take to build, told from its outermost fields, before any of it is built.

Two bytes of a message may become an object of a hundred, so that its size alone bounds nothing.
"""

from __future__ import annotations

from typing import Final

from inference.conversion.documents import LARGE_BYTES, LARGE_VALUES
from inference.errors import InvalidRequest

# Protobuf's wire types, and how many bytes follow the tag; groups, which it gave up, are not read.
_VARINT: Final = 0
_SIZED: Final = 2
_FIXED: Final = {1: 8, 5: 4}
_MOST_VARINT_BYTES: Final = 10


def check_outline(message: bytes, unbuilt: int) -> None:
    """Refuse a message of more fields, or of more bytes beside its field `unbuilt`, than are read at once.

    Args:
        message: in protobuf's wire format.
        unbuilt: the number of a field of bytes, which stay as they are however many.

    Raises:
        InvalidRequest: it has more than `LARGE_VALUES` fields or `LARGE_BYTES` bytes, or is no message.
    """
    at = fields = written = 0
    while at < len(message):
        begun = at
        tag, at = _varint(message, at)
        at = _end(message, at, tag & 7)
        fields += 1
        written += 0 if tag >> 3 == unbuilt else at - begun
        if fields > LARGE_VALUES or written > LARGE_BYTES:
            raise InvalidRequest(
                f"expected at most {LARGE_VALUES} fields, and {LARGE_BYTES} bytes beside raw_input_contents; "
                "this message has more: send tensors as raw_input_contents"
            )
    if at != len(message):
        raise _none()


def _end(message: bytes, at: int, kind: int) -> int:
    """Where the field whose value begins there ends."""
    if kind == _SIZED:
        size, at = _varint(message, at)
        return at + size
    if kind == _VARINT:
        return _varint(message, at)[1]
    if kind not in _FIXED:
        raise _none()
    return at + _FIXED[kind]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, and where it ends."""
    number = 0
    for index, byte in enumerate(message[at : at + _MOST_VARINT_BYTES]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number, at + index + 1
    raise _none()


def _none() -> InvalidRequest:
    return InvalidRequest("expected a message of the Open Inference Protocol, got other bytes")
