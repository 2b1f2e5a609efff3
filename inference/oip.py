"""The Open Inference Protocol's tensors, JSON and binary, read and written. No web framework here.

A body is a JSON object, or, with the binary extension, a JSON object followed by raw tensors in the order
in which the JSON names them; the header `Inference-Header-Content-Length` then says where the JSON ends.
Raw tensors are little-endian in C order; a bool is one byte; BYTES is, per element, a uint32 length and
then UTF-8.

JSON has neither NaN nor infinity: they are refused in both directions, and pass in binary form.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from browsers.core.failures import Category
from browsers.core.protocol import WireTensor
from inference.errors import InvalidRequest, WebpoolError

DATATYPES: Mapping[str, str] = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "string",
}
NAMES: Mapping[str, str] = {dtype: name for name, dtype in DATATYPES.items()}
HEADER_LENGTH = "Inference-Header-Content-Length"
_MAX_RANK = 32

type_of_parameter = str | int | float | bool


class NotJson(WebpoolError):
    """An output holds values that JSON cannot say."""

    category = Category.NOT_REPRESENTABLE


@dataclasses.dataclass(frozen=True)
class OutputWish:
    """One entry of a request's `outputs`; `binary` is None where the request leaves it open."""

    name: str
    binary: bool | None


@dataclasses.dataclass(frozen=True)
class InferRequest:
    """A decoded request: `outputs` empty means all of them."""

    id: str | None
    inputs: tuple[WireTensor, ...]
    outputs: tuple[OutputWish, ...]
    parameters: Mapping[str, type_of_parameter]
    binary_by_default: bool

    def wants_binary(self, name: str) -> bool:
        for wish in self.outputs:
            if wish.name == name and wish.binary is not None:
                return wish.binary
        return self.binary_by_default


# --- reading ---------------------------------------------------------------------


def decode_request(body: bytes | bytearray | memoryview, header_length: str | None) -> InferRequest:
    """Read an inference request; `header_length` is the header of that name, or None.

    Raises:
        InvalidRequest: it is not one; the message says what was expected and what came.
    """
    view = memoryview(body)
    at = _json_length(view, header_length)
    document = parse_json(view[:at])
    if not isinstance(document, dict):
        raise InvalidRequest(f"expected a JSON object, got {_kind(document)}")
    parameters = _parameters(document, "the request")
    entries = document.get("inputs")
    if not isinstance(entries, list):
        raise InvalidRequest(
            f"'inputs': expected a list of tensors, got {_kind(entries, missing='inputs' not in document)}"
        )
    inputs, at = _inputs(entries, view, at)
    if at != len(view):
        raise InvalidRequest(
            f"the body has {len(view)} bytes, but its JSON and the binary tensors it names make {at}; "
            f"check binary_data_size and {HEADER_LENGTH}"
        )
    by_default = parameters.pop("binary_data_output", False)
    if not isinstance(by_default, bool):
        raise InvalidRequest(
            f"parameter binary_data_output: expected true or false, got {by_default!r}"
        )
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidRequest(f"'id': expected a string, got {_kind(request_id)}")
    return InferRequest(request_id, inputs, _output_wishes(document), parameters, by_default)


def parse_json(view: memoryview | bytes) -> Any:
    """Strict JSON in UTF-8: no NaN, no infinity.

    Raises:
        InvalidRequest: it is not JSON.
    """
    try:
        return json.loads(bytes(view), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, RecursionError):
            raise InvalidRequest("the JSON is nested too deeply") from None
        raise InvalidRequest(
            f"expected JSON in UTF-8, got {len(view)} bytes that are not: {error}"
        ) from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; send such tensors with the binary extension")


def _json_length(view: memoryview, header: str | None) -> int:
    if header is None:
        return len(view)
    if not (header.isascii() and header.isdigit()) or int(header) > len(view):
        raise InvalidRequest(
            f"{HEADER_LENGTH}: expected the length of the JSON part, at most {len(view)} bytes (the "
            f"whole body), got {header!r}"
        )
    return int(header)


def _inputs(entries: list[Any], view: memoryview, at: int) -> tuple[tuple[WireTensor, ...], int]:
    tensors: list[WireTensor] = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise InvalidRequest(f"'inputs': expected objects, got {_kind(entry)}")
        name, dtype, shape = _declared(entry)
        if any(tensor.name == name for tensor in tensors):
            raise InvalidRequest(f"input {name!r} is given twice")
        size = _binary_size(name, _parameters(entry, f"input {name!r}"))
        if (size is None) == ("data" not in entry):
            raise InvalidRequest(
                f"input {name!r}: expected either 'data' or the parameter 'binary_data_size', got "
                + ("neither" if size is None else "both")
            )
        if size is None:
            tensors.append(_from_json(name, dtype, shape, entry["data"]))
            continue
        if size > len(view) - at:
            raise InvalidRequest(
                f"input {name!r}: binary_data_size is {size} bytes, but only {len(view) - at} follow "
                f"(the body has {len(view)} bytes); check binary_data_size and {HEADER_LENGTH}"
            )
        tensors.append(_from_binary(name, dtype, shape, view[at : at + size]))
        at += size
    return tuple(tensors), at


def _declared(entry: Mapping[str, Any]) -> tuple[str, str, tuple[int, ...]]:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"'inputs': expected a name for each tensor, got {name!r}")
    datatype = entry.get("datatype")
    if datatype == "BF16":
        raise InvalidRequest(
            f"input {name!r}: BF16 is not supported, browsers compute in FP32 and FP16; send the "
            "datatype that the model's metadata names"
        )
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise InvalidRequest(
            f"input {name!r}: expected a datatype among {', '.join(DATATYPES)}, got {datatype!r}"
        )
    return name, DATATYPES[datatype], _shape(name, entry.get("shape"))


def _shape(name: str, shape: Any) -> tuple[int, ...]:
    fits = isinstance(shape, list) and len(shape) <= _MAX_RANK
    if not fits or any(type(dim) is not int or dim < 0 for dim in shape):
        raise InvalidRequest(
            f"input {name!r}: expected a shape of at most {_MAX_RANK} whole numbers from 0 on, such as "
            f"[1, 128], got {shape!r:.100}"
        )
    return tuple(shape)


def _parameters(entry: Mapping[str, Any], where: str) -> dict[str, type_of_parameter]:
    parameters = entry.get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidRequest(
            f"'parameters' of {where}: expected an object, got {_kind(parameters)}"
        )
    for key, value in parameters.items():
        if not isinstance(value, (str, int, float, bool)):
            raise InvalidRequest(
                f"parameter {key!r} of {where}: expected a string, a number or true/false, got "
                f"{_kind(value)}"
            )
        if key.startswith("shared_memory"):
            raise InvalidRequest(
                f"parameter {key!r} of {where}: shared memory is not supported; send the tensor in the body"
            )
    return dict(parameters)


def _binary_size(name: str, parameters: Mapping[str, type_of_parameter]) -> int | None:
    size = parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise InvalidRequest(
            f"input {name!r}: binary_data_size: expected a number of bytes, got {size!r}"
        )
    return size


def _output_wishes(document: Mapping[str, Any]) -> tuple[OutputWish, ...]:
    entries = document.get("outputs", [])
    if not isinstance(entries, list):
        raise InvalidRequest(f"'outputs': expected a list, got {_kind(entries)}")
    wishes: list[OutputWish] = []
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name:
            raise InvalidRequest("'outputs': expected objects with a name")
        if any(wish.name == name for wish in wishes):
            raise InvalidRequest(f"output {name!r} is asked for twice")
        parameters = _parameters(entry, f"output {name!r}")
        if parameters.get("classification"):
            raise InvalidRequest(
                f"output {name!r}: the classification extension is not supported; ask for the tensor and "
                "take its largest elements"
            )
        binary = parameters.get("binary_data")
        if binary is not None and not isinstance(binary, bool):
            raise InvalidRequest(
                f"output {name!r}: binary_data: expected true or false, got {binary!r}"
            )
        wishes.append(OutputWish(name, binary))
    return tuple(wishes)


def _from_binary(name: str, dtype: str, shape: tuple[int, ...], data: memoryview) -> WireTensor:
    count = math.prod(shape)
    if dtype == "string":
        _check_strings(name, data, count)
    else:
        expected = count * np.dtype(dtype).itemsize
        if len(data) != expected:
            raise InvalidRequest(
                f"input {name!r}: {NAMES[dtype]} of shape {list(shape)} is {expected} bytes, got {len(data)}"
            )
        if dtype == "bool" and count and np.frombuffer(data, np.uint8).max() > 1:
            raise InvalidRequest(f"input {name!r}: expected bytes 0 or 1 for BOOL, got others")
    return WireTensor(name, dtype, shape, data)


def _check_strings(name: str, data: memoryview, count: int) -> None:
    at = found = 0
    while at < len(data):
        length = struct.unpack_from("<I", data, at)[0] if at + 4 <= len(data) else len(data)
        if at + 4 + length > len(data):
            raise InvalidRequest(
                f"input {name!r}: element {found} of BYTES runs past the end of its {len(data)} bytes; "
                "expected a uint32 length in little-endian order before each element"
            )
        try:
            str(data[at + 4 : at + 4 + length], "utf-8")
        except UnicodeDecodeError as error:
            raise InvalidRequest(
                f"input {name!r}: element {found} is not UTF-8 ({error.reason}); ONNX strings are"
            ) from None
        at, found = at + 4 + length, found + 1
    if found != count:
        raise InvalidRequest(f"input {name!r}: expected {count} elements of BYTES, got {found}")


def decode_json_tensor(entry: Any) -> WireTensor:
    """One tensor as the protocol writes it in JSON: {"name", "datatype", "shape", "data"}.

    Raises:
        InvalidRequest: the entry is malformed, or its data does not fit its datatype and shape.
    """
    if not isinstance(entry, dict) or "data" not in entry:
        raise InvalidRequest(
            f"expected a tensor {{name, datatype, shape, data}}, got {_kind(entry)}"
        )
    return _from_json(*_declared(entry), entry["data"])


def _from_json(name: str, dtype: str, shape: tuple[int, ...], data: Any) -> WireTensor:
    count = math.prod(shape)
    if dtype == "string":
        flat = _flat_strings(name, data, shape)
        return WireTensor(
            name, dtype, shape, b"".join(struct.pack("<I", len(raw)) + raw for raw in flat)
        )
    array = _numbers(name, dtype, data)
    if not _fits(array.shape, shape):
        raise InvalidRequest(
            f"input {name!r}: expected {count} elements, flat or nested as {list(shape)}, got data of "
            f"shape {list(array.shape)}"
        )
    little = np.dtype(dtype).newbyteorder("<")
    return WireTensor(name, dtype, shape, array.astype(little).tobytes())


def _fits(came: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether nested lists of shape `came` say `shape`: equal, flat, or as empty as it."""
    count = math.prod(shape)
    if not count:
        return not math.prod(came)
    return came == shape or (len(came) <= 1 and math.prod(came) == count)


def _numbers(name: str, dtype: str, data: Any) -> np.ndarray[Any, Any]:
    """The data as an array of `dtype`, refused where a value would change on the way."""
    target = np.dtype(dtype)
    try:
        array = np.array(data)
    except ValueError:
        raise InvalidRequest(f"input {name!r}: the nested lists of 'data' are ragged") from None
    except OverflowError:
        array = np.array(data, dtype=object)
    if not array.size:
        return array.astype(target)
    if target.kind in "iu" and array.dtype.kind in "fO":
        array = np.array(data, dtype=object)
        if any(type(item) is not int for item in array.flat):
            raise _wrong(name, dtype, "whole numbers")
    if target.kind in "iu":
        if array.dtype.kind not in "iuO":
            raise _wrong(name, dtype, "whole numbers")
        limits = np.iinfo(target)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise _wrong(name, dtype, f"numbers from {limits.min} to {limits.max}")
        return array.astype(target)
    if target.kind == "b":
        if array.dtype.kind == "b" or (array.dtype.kind == "i" and set(np.unique(array)) <= {0, 1}):
            return array.astype(bool)
        raise _wrong(name, dtype, "true and false")
    if array.dtype.kind not in "iuf":
        raise _wrong(name, dtype, "numbers")
    with np.errstate(over="ignore"):
        cast = array.astype(target)
    if not np.isfinite(cast).all():
        raise _wrong(name, dtype, f"numbers of at most {np.finfo(target).max:.4g} in size")
    return cast


def _wrong(name: str, dtype: str, expected: str) -> InvalidRequest:
    return InvalidRequest(f"input {name!r}: {NAMES[dtype]} data must be {expected}; got others")


def _flat_strings(name: str, data: Any, shape: tuple[int, ...]) -> list[bytes]:
    """UTF-8 of every element; `data` is flat, or nested as `shape`."""
    count = math.prod(shape)
    array = np.array(data, dtype=object) if not isinstance(data, str) else np.array([data], object)
    if not _fits(array.shape, shape):
        raise InvalidRequest(
            f"input {name!r}: expected {count} strings, flat or nested as {list(shape)}, got data of "
            f"shape {list(array.shape)}"
        )
    items = array.ravel().tolist()
    if any(not isinstance(item, str) for item in items):
        raise _wrong(name, "string", "strings")
    try:
        return [item.encode() for item in items]
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"input {name!r}: a string has no UTF-8 form ({error.reason})"
        ) from None


def _kind(value: Any, *, missing: bool = False) -> str:
    if missing:
        return "nothing"
    kinds = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "true/false",
        type(None): "null",
    }
    return kinds.get(type(value), "a number")


# --- writing ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A response body; `header_length` is None when it is JSON alone."""

    body: bytes
    header_length: int | None

    @property
    def content_type(self) -> str:
        return "application/json" if self.header_length is None else "application/octet-stream"


def encode_response(
    *,
    model: str,
    version: str,
    request_id: str | None,
    parameters: Mapping[str, type_of_parameter],
    outputs: Sequence[tuple[WireTensor, bool]],
) -> Encoded:
    """Write a response; each output comes with whether it goes in binary form.

    Raises:
        NotJson: an output that was wanted as JSON has values that JSON lacks.
    """
    entries, blobs = [], []
    for tensor, binary in outputs:
        entry: dict[str, Any] = {
            "name": tensor.name,
            "datatype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
        }
        if binary:
            entry["parameters"] = {"binary_data_size": len(tensor.data)}
            blobs.append(tensor.data)
        else:
            entry["data"] = json_data(tensor)
        entries.append(entry)
    document: dict[str, Any] = {"model_name": model, "model_version": version}
    if request_id is not None:
        document["id"] = request_id
    if parameters:
        document["parameters"] = dict(parameters)
    document["outputs"] = entries
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    if not any(binary for _, binary in outputs):
        return Encoded(text, None)
    return Encoded(b"".join([text, *blobs]), len(text))


def json_data(tensor: WireTensor) -> list[Any]:
    """The tensor's elements as a flat list that JSON can hold.

    Raises:
        NotJson: there are NaN, infinities or strings that are not UTF-8 among them.
    """
    if tensor.dtype == "string":
        return _string_items(tensor)
    array = np.frombuffer(tensor.data, np.dtype(tensor.dtype).newbyteorder("<"))
    if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
        raise NotJson(
            f"output {tensor.name!r} has {int((~finite).sum())} values that are NaN or infinite, which "
            'JSON lacks; ask for it in binary form: "outputs": [{"name": '
            f'"{tensor.name}", "parameters": {{"binary_data": true}}}}]'
        )
    items: list[Any] = array.tolist()
    return items


def _string_items(tensor: WireTensor) -> list[str]:
    view, items, at = memoryview(tensor.data), [], 0
    while at < len(view):
        (length,) = struct.unpack_from("<I", view, at)
        try:
            items.append(str(view[at + 4 : at + 4 + length], "utf-8"))
        except UnicodeDecodeError:
            raise NotJson(
                f"output {tensor.name!r} has a string that is not UTF-8; ask for it in binary form"
            ) from None
        at += 4 + length
    return items
