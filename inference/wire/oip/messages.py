"""The protocol's gRPC messages as the bodies that its HTTP door takes, and back.

The messages are tritonclient's own. Only where gRPC is asked for is this imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from inference.conversion.documents import LARGE_VALUES
from inference.documents import JsonObject
from inference.errors import InvalidRequest
from inference.wire.oip.datatypes import type_of_parameter
from inference.wire.oip.outline import check_outline

Message = Any
"""A protobuf message: tritonclient carries no types."""

_MOST_DIMS: Final = 32
_RAW: Final = pb.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number
_WRITTEN_OUT: Final = {
    "BOOL": ("bool_contents", np.uint8),
    "INT32": ("int_contents", np.int32),
    "INT64": ("int64_contents", np.int64),
    "UINT32": ("uint_contents", np.uint32),
    "UINT64": ("uint64_contents", np.uint64),
    "FP32": ("fp32_contents", np.float32),
    "FP64": ("fp64_contents", np.float64),
}
# Of types that are wider than their own, so that a value may not fit: that is judged as JSON's is.
_NARROW: Final = {
    "INT8": "int_contents",
    "INT16": "int_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
}


def read(kind: Any, message: bytes) -> Message:
    """The message, which is of that kind.

    Raises:
        InvalidRequest: it is none, or is more than the web process builds.
    """
    check_outline(message, _RAW if kind is pb.ModelInferRequest else 0)
    try:
        return kind.FromString(message)
    except DecodeError:
        raise InvalidRequest(f"expected a {kind.DESCRIPTOR.name}, got other bytes") from None


def to_body(request: Message) -> tuple[bytes, int]:
    """A ModelInferRequest as the body of an HTTP request, and how many bytes of it are JSON.

    Raises:
        InvalidRequest: the message contradicts itself, or has more than `LARGE_VALUES` entries and values.
    """
    _check_size(request)
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        raise InvalidRequest(
            f"raw_input_contents: expected one for each of the {len(request.inputs)} inputs, got {len(raw)}"
        )
    entries, blobs = [], []
    for number, tensor in enumerate(request.inputs):
        if raw and tensor.HasField("contents"):
            raise InvalidRequest(
                f"input {tensor.name!r:.200}: expected contents or raw_input_contents, got both"
            )
        entry, blob = _input(tensor, raw[number] if raw else None)
        entries.append(entry)
        blobs += [blob] if blob is not None else []
    document = {
        "id": request.id,
        "inputs": entries,
        "outputs": [
            {"name": o.name, "parameters": {**_values(o.parameters), "binary_data": True}}
            for o in request.outputs
        ],
        "parameters": {**_values(request.parameters), "binary_data_output": True},
    }
    head = json.dumps(document).encode()
    return b"".join([head, *blobs]), len(head)


def _check_size(request: Message) -> None:
    """Each of these is turned into Python's one by one, in the web process."""
    size = len(request.inputs) + len(request.outputs) + len(request.parameters)
    size += sum(len(output.parameters) for output in request.outputs)
    for tensor in request.inputs:
        if len(tensor.shape) > _MOST_DIMS:
            raise InvalidRequest(
                f"input {tensor.name!r:.200}: expected at most {_MOST_DIMS} dimensions, got "
                f"{len(tensor.shape)}"
            )
        values = sum(len(values) for _, values in tensor.contents.ListFields())
        size += len(tensor.shape) + len(tensor.parameters) + values
    if size > LARGE_VALUES:
        raise InvalidRequest(
            f"expected at most {LARGE_VALUES} values, dimensions, parameters, inputs and outputs in a "
            f"message, got {size}; send tensors as raw_input_contents"
        )


def _input(tensor: Message, raw: bytes | None) -> tuple[JsonObject, bytes | None]:
    entry: JsonObject = {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape),
        "parameters": _values(tensor.parameters),
    }
    blob = _written_out(tensor) if raw is None else raw
    if blob is None:
        entry["data"] = _listed(tensor, _NARROW.get(tensor.datatype, ""))
    else:
        entry["parameters"]["binary_data_size"] = len(blob)
    return entry, blob


def _written_out(tensor: Message) -> bytes | None:
    """The bytes of values that are written out; None where they are to be judged as JSON is."""
    if tensor.datatype == "BYTES":
        texts = _listed(tensor, "bytes_contents")
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    if tensor.datatype not in _WRITTEN_OUT:
        return None
    field, dtype = _WRITTEN_OUT[tensor.datatype]
    return np.array(_listed(tensor, field), dtype).tobytes()


def _listed(tensor: Message, field: str) -> list[Message]:
    """The values of one field of the contents; of a type that has none: nothing, which will not fit."""
    return list(getattr(tensor.contents, field)) if field else []


def _values(parameters: Mapping[str, Message]) -> dict[str, type_of_parameter]:
    found: dict[str, type_of_parameter] = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None:
            raise InvalidRequest(f"parameter {name!r:.200}: expected a value, got none")
        found[name] = getattr(parameter, choice)
    return found


def from_body(body: bytes, header_length: int | None) -> Message:
    """A ModelInferResponse of what the HTTP door answered, whose outputs are all in binary form."""
    at = len(body) if header_length is None else header_length
    document = json.loads(body[:at])
    answer = pb.ModelInferResponse(
        model_name=document["model_name"],
        model_version=document["model_version"],
        id=document.get("id", ""),
        parameters={name: _parameter(v) for name, v in document.get("parameters", {}).items()},
    )
    for entry in document["outputs"]:
        size = entry["parameters"]["binary_data_size"]
        answer.outputs.add(name=entry["name"], datatype=entry["datatype"], shape=entry["shape"])
        answer.raw_output_contents.append(body[at : at + size])
        at += size
    return answer


def _parameter(value: type_of_parameter) -> Message:
    if isinstance(value, bool):
        return pb.InferParameter(bool_param=value)
    if isinstance(value, int):
        return pb.InferParameter(int64_param=value)
    if isinstance(value, float):
        return pb.InferParameter(double_param=value)
    return pb.InferParameter(string_param=value)
