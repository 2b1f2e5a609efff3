"""Messages between a process and its sandboxed child: a JSON document and arrays, every size checked.

    uint32 length, JSON {"document": …, "arrays": [{"name", "dtype", "shape", "bytes"}, …]}, the arrays' bytes

Arrays are little-endian in C order; one of strings is a JSON list of its elements.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from inference.documents import Array

MOST_JSON: Final = 256 * 2**20
MOST_BYTES: Final = 4 * 2**30
FULL: Final = (errno.ENOSPC, errno.EDQUOT)  # what a full disk says
OUT_OF_MEMORY: Final = 69  # the exit status of a child whose job needed more than it may take
_LENGTH: Final = struct.Struct("<I")
_TEXT: Final = "string"
_DTYPES: Final = frozenset(
    (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64"),
    )
)


class BadFrame(Exception):
    """What came is no message of this form."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a job said."""

    document: Any
    arrays: dict[str, Array] = dataclasses.field(default_factory=dict)


def send(sock: socket.socket, document: object, arrays: Mapping[str, Array] | None = None) -> None:
    """Write one message; blocks as long as the socket's timeout allows."""
    described, parts = [], []
    for name, array in (arrays or {}).items():
        text = array.dtype.kind in "OU"
        raw = json.dumps(array.ravel().tolist()).encode() if text else _little(array)
        dtype = _TEXT if text else array.dtype.name
        if not text and dtype not in _DTYPES:
            raise BadFrame(f"array {name!r}: type {dtype} has no form in a message")
        described.append({"name": name, "dtype": dtype, "shape": array.shape, "bytes": len(raw)})
        parts.append(raw)
    head = json.dumps({"document": document, "arrays": described}).encode()
    if len(head) > MOST_JSON:
        raise BadFrame(f"a message of {len(head) >> 20} MB; at most {MOST_JSON >> 20} MB are taken")
    sock.sendall(_LENGTH.pack(len(head)) + head)
    for part in parts:
        sock.sendall(part)


def receive(sock: socket.socket, until: float | None = None) -> Answer | None:
    """Read one message; None where the other side closed instead.

    Args:
        until: on `time.monotonic`'s clock; None: as long as it takes.

    Raises:
        BadFrame: the message is of another form.
        TimeoutError: `until` has passed.
    """
    start = _exactly(sock, _LENGTH.size, until)
    if start is None:
        return None
    (length,) = _LENGTH.unpack(start)
    if length > MOST_JSON:
        raise BadFrame(f"a document of {length} bytes")
    head = _needed(sock, length, until)
    try:
        message = json.loads(head)
        listed = [_described(item) for item in message["arrays"]]
        document = message["document"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadFrame(f"{type(error).__name__}: {error}") from error
    if sum(size for *_, size in listed) > MOST_BYTES:
        raise BadFrame("arrays of too many bytes")
    return Answer(document, {name: _array(sock, d, s, n, until) for name, d, s, n in listed})


def _little(array: Array) -> memoryview:
    """Its bytes, which are not copied where they are in that order already: other threads would wait."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return plain.reshape(-1).view(np.uint8).data


def _described(item: Any) -> tuple[str, str, tuple[int, ...], int]:
    name, dtype, size = item["name"], item["dtype"], item["bytes"]
    shape = tuple(item["shape"])
    sizes = (*shape, size)
    if not all(type(n) is int and n >= 0 for n in sizes) or not isinstance(name, str):
        raise ValueError("no sizes of an array")
    if dtype == _TEXT:
        if size > MOST_JSON:
            raise ValueError("too much text")
    elif dtype not in _DTYPES or math.prod(shape) * np.dtype(dtype).itemsize != size:
        raise ValueError(f"{size} bytes are no {dtype}{list(shape)}")
    return name, dtype, shape, size


def _array(
    sock: socket.socket, dtype: str, shape: tuple[int, ...], size: int, until: float | None
) -> Array:
    raw = _needed(sock, size, until)
    if dtype != _TEXT:
        return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    try:
        items = json.loads(raw)
        if len(items) != math.prod(shape) or not all(isinstance(item, str) for item in items):
            raise ValueError("no list of that many strings")
    except (ValueError, TypeError, RecursionError) as error:
        raise BadFrame(f"strings: {error}") from error
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)


def _needed(sock: socket.socket, size: int, until: float | None) -> bytearray:
    raw = _exactly(sock, size, until)
    if raw is None:
        raise BadFrame("the message ended too early")
    return raw


def _exactly(sock: socket.socket, size: int, until: float | None) -> bytearray | None:
    """So many bytes; None where the first of them never came."""
    raw = bytearray(size)
    view, got = memoryview(raw), 0
    while got < size:
        if until is not None:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            sock.settimeout(left)
        try:
            count = sock.recv_into(view[got:])
        except ConnectionResetError:
            count = 0
        if not count:
            if got:
                raise BadFrame("the message ended too early")
            return None
        got += count
    return raw
