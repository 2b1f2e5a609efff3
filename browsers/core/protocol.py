"""The frames between a worker and its page.

A frame is one binary WebSocket message:

1. uint32 little-endian: length of the header in bytes
2. the header, JSON in UTF-8; its `tensors` list holds `{name, dtype, shape, bytes}` per tensor
3. zeros up to the next multiple of 8
4. per tensor its data, each padded with zeros to a multiple of 8

so that the page can lay a typed array of any element size over the received buffer without a copy.

Tensor data is little-endian, in C order; a bool takes one byte; a string element is its length in
bytes (uint32 little-endian) and then UTF-8, which is the BYTES form of the Open Inference Protocol.
The page's side of this file is static/browsers/runtime/protocol.js; both are tested on the same
bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

from browsers.core.errors import InternalError, InvalidInput

ITEM_BYTES: Final[Mapping[str, int]] = {
    "float32": 4,
    "float16": 2,
    "float64": 8,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "uint32": 4,
    "int64": 8,
    "uint64": 8,
    "bool": 1,
}
DTYPES: Final[tuple[str, ...]] = (*ITEM_BYTES, "string")

_LENGTH = struct.Struct("<I")
_PADDING = b"\0" * 8
_to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_from_json = json.JSONDecoder().decode


@dataclass(frozen=True, slots=True)
class WireTensor:
    """A named tensor as it travels: `dtype` is ONNX's name, `data` the raw little-endian bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview

    def check(self) -> None:
        """Raise InvalidInput unless dtype, shape and the number of bytes fit together."""
        if self.dtype not in DTYPES:
            raise InvalidInput(
                f"tensor {self.name!r}: dtype {self.dtype!r} cannot travel to a browser; "
                f"expected one of {', '.join(DTYPES)}"
            )
        if any(size < 0 for size in self.shape):
            raise InvalidInput(f"tensor {self.name!r}: negative size in shape {list(self.shape)}")
        if self.dtype == "string":
            _check_strings(self)
            return
        expected = prod(self.shape) * ITEM_BYTES[self.dtype]
        if len(self.data) != expected:
            raise InvalidInput(
                f"tensor {self.name!r}: {self.dtype} of shape {list(self.shape)} takes "
                f"{expected} bytes, got {len(self.data)}"
            )


def _check_strings(tensor: WireTensor) -> None:
    expected = prod(tensor.shape)
    try:
        count = sum(1 for _ in string_elements(tensor.data))
    except InvalidInput as error:
        raise InvalidInput(f"tensor {tensor.name!r}: {error}") from error
    if count != expected:
        raise InvalidInput(
            f"tensor {tensor.name!r}: a string tensor of shape {list(tensor.shape)} takes {expected} "
            f"elements, got {count}"
        )


def pack_strings(items: Iterable[str]) -> bytes:
    """Strings in their raw form: per element a uint32 length and UTF-8."""
    parts: list[bytes] = []
    for item in items:
        encoded = item.encode()
        parts += (_LENGTH.pack(len(encoded)), encoded)
    return b"".join(parts)


def unpack_strings(data: bytes | memoryview) -> list[str]:
    """The inverse of `pack_strings`.

    Raises:
        InvalidInput: the data is not of that form.
        UnicodeDecodeError: an element is not UTF-8.
    """
    return [str(element, "utf-8") for element in string_elements(data)]


def string_elements(data: bytes | memoryview) -> Iterator[memoryview]:
    """The bytes of each element of a string tensor's raw form.

    Raises:
        InvalidInput: an element runs past the end of the data.
    """
    view = memoryview(data)
    offset = index = 0
    while offset < len(view):
        start = offset + _LENGTH.size
        length = _LENGTH.unpack_from(view, offset)[0] if start <= len(view) else len(view)
        offset = start + length
        if offset > len(view):
            raise InvalidInput(
                f"element {index} of its strings runs past the end of its {len(view)} bytes; expected a "
                "uint32 length in little-endian order before each element"
            )
        yield view[start:offset]
        index += 1


def encode_frame(
    header: Mapping[str, Any], tensors: Sequence[WireTensor] = ()
) -> list[bytes | memoryview]:
    """One frame as the parts to send one after another; the tensors' bytes are not copied."""
    fields = dict(header)
    fields["tensors"] = [
        {"name": t.name, "dtype": t.dtype, "shape": t.shape, "bytes": len(t.data)} for t in tensors
    ]
    text = _to_json(fields).encode()
    start = _LENGTH.pack(len(text)) + text
    parts: list[bytes | memoryview] = [start + _PADDING[: -len(start) % 8]]
    for tensor in tensors:
        parts += (tensor.data, _PADDING[: -len(tensor.data) % 8])
    return parts


def decode_frame(frame: bytes | bytearray | memoryview) -> tuple[dict[str, Any], list[WireTensor]]:
    """The header (without its `tensors`) and the tensors, whose data are views of `frame`."""
    view = memoryview(frame)
    if len(view) < _LENGTH.size:
        raise InternalError(f"expected a frame of at least 4 bytes, got {len(view)}")
    (length,) = _LENGTH.unpack_from(view)
    offset = _LENGTH.size + length
    if offset > len(view):
        raise InternalError(f"frame of {len(view)} bytes announces a header of {length}")
    header: dict[str, Any] = _from_json(str(view[_LENGTH.size : offset], "utf-8"))
    offset += -offset % 8
    tensors: list[WireTensor] = []
    for entry in header.pop("tensors", ()):
        end = offset + int(entry["bytes"])
        if end > len(view):
            raise InternalError(f"frame ends inside tensor {entry['name']!r}")
        tensors.append(
            WireTensor(entry["name"], entry["dtype"], tuple(entry["shape"]), view[offset:end])
        )
        offset = end + -end % 8
    return header, tensors
