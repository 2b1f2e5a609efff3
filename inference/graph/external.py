"""Weights that lie in other files: taken from beside the model, or refused.

Every tensor is looked at, wherever a model may hold one: initialisers, sparse ones, attributes, bodies,
functions. Afterwards nothing refers to a file, so onnxruntime never opens one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

import onnx
from google.protobuf.message import Message
from onnx import helper

from inference.graph.files import InvalidModel, refuse_large

# Types of which several elements share a byte.
_PACKED_BITS: Final[dict[int, int]] = {
    onnx.TensorProto.INT4: 4, onnx.TensorProto.UINT4: 4, onnx.TensorProto.FLOAT4E2M1: 4,
    onnx.TensorProto.INT2: 2, onnx.TensorProto.UINT2: 2,
}  # fmt: skip


def take_in(model: onnx.ModelProto, path: Path, size: int) -> None:
    """Put every tensor's bytes into the model, in place.

    Args:
        path: of the model's file. Data may lie in its folder, or in the folder that it is a link into, as in
            a cache of files that are links to one store.
        size: bytes of the model's file.

    Raises:
        InvalidModel: data that is missing, too short, too large, or elsewhere.
    """
    outside = [tensor for tensor in _tensors(model) if _is_external(tensor)]
    refuse_large(size + sum(map(stored_bytes, outside)))
    for tensor in outside:
        tensor.raw_data = _read(tensor, path)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")  # inside the file now: the same model, the same bytes


def stored_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's elements as a file holds them, by its type and shape."""
    bits = _PACKED_BITS.get(tensor.data_type)
    if bits is None:
        bits = 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return (math.prod(tensor.dims) * bits + 7) // 8


def _is_external(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data)


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Every tensor below a message."""
    found: list[Message] = [message]
    while found:
        at = found.pop()
        for field, value in at.ListFields():
            if field.message_type is None:
                continue
            found += value if field.is_repeated else [value]
        if isinstance(at, onnx.TensorProto):
            yield at


def _read(tensor: onnx.TensorProto, path: Path) -> bytes:
    told = {item.key: item.value for item in tensor.external_data}
    where = f"the data of tensor {tensor.name!r}"
    file = _beside(told.get("location", ""), path, where)
    if tensor.data_type == onnx.TensorProto.STRING:
        raise InvalidModel(f"{where} is text, which cannot lie in another file")
    try:
        offset, length = int(told.get("offset") or 0), stored_bytes(tensor)
        claimed = int(told.get("length") or length)
    except ValueError as error:
        raise InvalidModel(f"{where}: offset and length must be whole numbers") from error
    if offset < 0 or claimed != length:
        raise InvalidModel(
            f"{where} is said to be {claimed} bytes at {offset}; its type and shape need {length}"
        )
    with file.open("rb") as data:
        data.seek(offset)
        raw = data.read(length)
    if len(raw) != length:
        raise InvalidModel(
            f"{where} needs {length} bytes at {offset} of {file.name}, which has {file.stat().st_size}; "
            "expected a complete .onnx file, with its external data beside it"
        )
    return raw


def _beside(location: str, path: Path, where: str) -> Path:
    """The file that a location means.

    Raises:
        InvalidModel: it is not beside the model, or not there.
    """
    named = PurePosixPath(location)
    if (
        not location
        or "\0" in location
        or named.is_absolute()
        or PureWindowsPath(location).is_absolute()
        or ".." in named.parts
    ):
        raise InvalidModel(
            f"{where} lies in {location!r}; expected the name of a file beside the model"
        )
    file = (path.parent / named).resolve()
    if not any(
        file.is_relative_to(root) for root in (path.parent.resolve(), path.resolve().parent)
    ):
        raise InvalidModel(
            f"{where} lies in {location!r}, which is a link to elsewhere; put the file itself beside the "
            "model"
        )
    if not file.is_file():
        raise InvalidModel(
            f"{named.name} is missing; expected an ONNX file with its external data beside it"
        )
    return file
