"""One tensor as the protocol writes it, in JSON or in binary form, read and written."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import orjson

from browsers.core.errors import InvalidInput
from browsers.core.protocol import WireTensor, string_elements, unpack_strings
from inference.conversion.exact import array_of, check_texts
from inference.conversion.nesting import MAX_RANK, Nested
from inference.documents import JsonView
from inference.errors import InvalidRequest, NotJson
from inference.store.tensors import decode_array, encode_array
from inference.wire.oip.datatypes import DATATYPES, NAMES, kind_of

_LONGEST = 2**31 - 1  # of a dimension
_MOST_ELEMENTS = 2**48  # also beside a dimension of 0: numpy multiplies the others


def decode_json_tensor(entry: object) -> WireTensor:
    """One tensor as the protocol writes it in JSON: {"name", "datatype", "shape", "data"}.

    Raises:
        InvalidRequest: the entry is malformed, or its data does not fit its datatype and shape.
    """
    if not isinstance(entry, dict) or "data" not in entry:
        raise InvalidRequest(
            f"expected a tensor {{name, datatype, shape, data}}, got {kind_of(entry)}"
        )
    return from_json(*declared(entry), entry["data"])


def declared(entry: JsonView) -> tuple[str, str, tuple[int, ...]]:
    """The name, ONNX type and shape that an input's entry says.

    Raises:
        InvalidRequest: one of them is missing or malformed.
    """
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"'inputs': expected a name for each tensor, got {name!r:.200}")
    datatype = entry.get("datatype")
    if datatype == "BF16":
        raise InvalidRequest(
            f"input {name!r:.200}: BF16 is not supported, browsers compute in FP32 and FP16; send the "
            "datatype that the model's metadata names"
        )
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise InvalidRequest(
            f"input {name!r:.200}: expected a datatype among {', '.join(DATATYPES)}, got {datatype!r:.200}"
        )
    return name, DATATYPES[datatype], _shape(name, entry.get("shape"))


def _shape(name: str, shape: Any) -> tuple[int, ...]:
    fits = isinstance(shape, list) and len(shape) <= MAX_RANK
    if not fits or any(type(dim) is not int or not 0 <= dim <= _LONGEST for dim in shape):
        raise InvalidRequest(
            f"input {name!r:.99}: expected a shape of at most {MAX_RANK} whole numbers from 0 to {_LONGEST}, "
            f"such as [1, 128], got {shape!r:.100}"
        )
    if math.prod(dim for dim in shape if dim) > _MOST_ELEMENTS:
        raise InvalidRequest(
            f"input {name!r:.200}: expected a shape of at most {_MOST_ELEMENTS} elements, got {shape!r:.100}"
        )
    return tuple(shape)


def from_json(name: str, dtype: str, shape: tuple[int, ...], data: Any) -> WireTensor:
    """A tensor from its `data`, which is flat, or nested as `shape`.

    Raises:
        InvalidRequest: it does not fit the type or the shape.
    """
    array = array_of(name, data, dtype, json=True)
    if not _fits(array.shape, shape):
        raise InvalidRequest(
            f"input {name!r:.99}: expected {math.prod(shape)} elements, flat or nested as {list(shape)}, got "
            f"data of shape {list(array.shape)}"
        )
    return encode_array(name, array.reshape(shape))


def _fits(came: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether nested lists of shape `came` say `shape`: equal, flat, or as empty as it."""
    count = math.prod(shape)
    if not count:
        return not math.prod(came)
    return came == shape or (len(came) <= 1 and math.prod(came) == count)


def from_binary(name: str, dtype: str, shape: tuple[int, ...], data: memoryview) -> WireTensor:
    """A tensor from its raw bytes, which stay where they are.

    Raises:
        InvalidRequest: their number, or a bool or string among them, cannot be right.
    """
    if dtype == "string":
        _check_strings(name, shape, data)
        return WireTensor(name, dtype, shape, data)
    expected = math.prod(shape) * np.dtype(dtype).itemsize
    if len(data) != expected:
        raise InvalidRequest(
            f"input {name!r:.200}: {NAMES[dtype]} of shape {list(shape)} is {expected} bytes, got {len(data)}"
        )
    if dtype == "bool":
        _check_bools(name, shape, data)
    return WireTensor(name, dtype, shape, data)


def _check_bools(name: str, shape: tuple[int, ...], data: memoryview) -> None:
    values = np.frombuffer(data, np.uint8)
    if values.size and values.max() > 1:
        index = int(np.argmax(values > 1))
        at = Nested([], shape).position(index)
        raise InvalidRequest(
            f"input {name!r:.200}: expected bytes 0 or 1 for BOOL, got {values[index]} at {list(at)}"
        )


def _check_strings(name: str, shape: tuple[int, ...], data: memoryview) -> None:
    try:
        texts = [bytes(element) for element in string_elements(data)]
    except InvalidInput as error:
        raise InvalidRequest(f"input {name!r:.200}: {error}") from error
    if len(texts) != math.prod(shape):
        raise InvalidRequest(
            f"input {name!r:.200}: expected {math.prod(shape)} elements of BYTES, got {len(texts)}"
        )
    check_texts(name, texts, shape)


def json_text(tensor: WireTensor) -> str:
    """The tensor's elements as a flat JSON list.

    Numbers of FP16 and FP32 are written as the FP64 that they are. Fewer digits would tell them apart, too,
    but not to a reader that reads FP64 first and rounds again: 7.038531e-26 becomes another FP32 so.

    Raises:
        NotJson: there are NaN, infinities or strings that are not UTF-8 among them.
    """
    if tensor.dtype == "string":
        return json.dumps(_texts(tensor), separators=(",", ":"), ensure_ascii=False)
    array = decode_array(tensor).ravel()
    if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
        raise NotJson(
            f"output {tensor.name!r} has {int((~finite).sum())} values that are NaN or infinite, which "
            'JSON lacks; ask for it in binary form: "outputs": [{"name": '
            f'"{tensor.name}", "parameters": {{"binary_data": true}}}}]'
        )
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
    return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _texts(tensor: WireTensor) -> list[str]:
    try:
        return unpack_strings(tensor.data)
    except UnicodeDecodeError:
        raise NotJson(
            f"output {tensor.name!r} has a string that is not UTF-8; ask for it in binary form"
        ) from None
