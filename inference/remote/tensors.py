"""Arrays as the Open Inference Protocol carries them: a JSON header, then little-endian bytes in C order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
JsonObject: TypeAlias = dict[str, Any]

HEADER_LENGTH = "Inference-Header-Content-Length"
_DTYPES: Mapping[str, str] = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_NAMES: Mapping[str, str] = {np.dtype(short).name: name for name, short in _DTYPES.items()}
_LENGTH_BYTES = 4
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def written(inputs: Mapping[str, Array]) -> tuple[list[JsonObject], bytes]:
    """The entries of a request's `inputs`, and the bytes that follow the header.

    Raises:
        TypeError: it is no array, of a type that the protocol has not, or of objects that are no strings.
    """
    entries, blobs = [], []
    for name, array in inputs.items():
        datatype, data = _datatype(name, array), _data(array)
        entries.append(
            {
                "name": name,
                "datatype": datatype,
                "shape": list(array.shape),
                "parameters": {"binary_data_size": len(data)},
            }
        )
        blobs.append(data)
    return entries, b"".join(blobs)


def _datatype(name: str, array: object) -> str:
    if not isinstance(array, np.ndarray):
        raise TypeError(
            f"{name}: expected a numpy array, whose type says what is sent, got {type(array).__name__}; "
            "such as np.array([[101, 7592, 102]]) or np.array(values, np.float32)"
        )
    if array.dtype.kind in "OU":
        if wrong := [one for one in array.ravel() if not isinstance(one, str)]:
            raise TypeError(f"{name}: expected strings, got {wrong[0]!r:.60} among them")
        if wrong := [one for one in array.ravel() if _LONE_SURROGATE.search(one)]:
            raise ValueError(f"{name}: expected text that UTF-8 can say, got {wrong[0]!r:.60}")
        return "BYTES"
    if (datatype := _NAMES.get(array.dtype.name)) is None:
        raise TypeError(
            f"{name}: expected an array of {', '.join(_NAMES)} or strings, got {array.dtype}"
        )
    return datatype


def _data(array: Array) -> bytes:
    if array.dtype.kind in "OU":
        texts = [text.encode() for text in array.ravel()]
        return b"".join(len(text).to_bytes(_LENGTH_BYTES, "little") + text for text in texts)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def read(content: bytes, header_length: str | None) -> tuple[JsonObject, dict[str, Array]]:
    """A response's header and its outputs, by name; strings are an array of objects.

    Raises:
        ValueError: it is not of the protocol.
    """
    length = len(content) if header_length is None else int(header_length)
    header: JsonObject = json.loads(content[:length])
    at, outputs = length, {}
    for entry in header["outputs"]:
        size = entry.get("parameters", {}).get("binary_data_size")
        if size is None:
            outputs[entry["name"]] = _of_json(entry)
            continue
        outputs[entry["name"]] = _of_bytes(entry, content[at : at + size])
        at += size
    return header, outputs


def _of_json(entry: JsonObject) -> Array:
    short = _DTYPES.get(entry["datatype"], "O")
    return np.array(entry["data"], dtype=short).reshape(entry["shape"])


def _of_bytes(entry: JsonObject, data: bytes) -> Array:
    short = _DTYPES.get(entry["datatype"])
    if short is None:
        return np.array(list(_strings(data)), dtype=object).reshape(entry["shape"])
    return np.frombuffer(data, dtype=short).reshape(entry["shape"])


def _strings(data: bytes) -> Iterator[str]:
    at = 0
    while at < len(data):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "little")
        yield data[start:at].decode()


def in_json(inputs: Mapping[str, Array]) -> list[JsonObject]:
    """The same as entries with `data`, for requests that are JSON alone."""
    return [
        {
            "name": name,
            "datatype": _datatype(name, array),
            "shape": list(array.shape),
            "data": array.ravel().tolist(),
        }
        for name, array in inputs.items()
    ]
