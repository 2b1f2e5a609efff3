"""Read an ONNX file, whatever wrote it: its ports, its weights, what it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from inference.graph.external import stored_bytes, take_in
from inference.graph.files import InvalidModel, first_line, refuse_large, serialise, store
from inference.graph.spec import TensorSpec, dtype_of
from inference.graph.structure import bodies, in_order
from inference.graph.types import infer_types, name_dims, named_dims

DEFAULT_PREFIX = "webpool.default."  # metadata_props: how a missing input is filled in


def load(path: Path) -> onnx.ModelProto:
    """Parse a file with its external data; nodes in order, dynamic dimensions of inputs named.

    Raises:
        InvalidModel: missing, truncated, not ONNX, or inconsistent.
    """
    try:
        size = path.stat().st_size
        refuse_large(size)
        model = onnx.load(str(path), load_external_data=False)
        take_in(model, path, size)
    except InvalidModel:
        raise
    except FileNotFoundError as error:
        missing = error.filename or path
        raise InvalidModel(
            f"{Path(str(missing)).name} is missing; expected an ONNX file with its external data "
            "beside it"
        ) from error
    except (DecodeError, KeyError, OSError, ValueError, onnx.checker.ValidationError) as error:
        raise InvalidModel(
            f"it cannot be read as ONNX ({first_line(error)}); expected a complete .onnx file, "
            "with its external data beside it"
        ) from error
    if not model.graph.output:
        raise InvalidModel("it holds no ONNX graph with an output; expected an .onnx file")
    for tensor in model.graph.initializer:
        tensor.ClearField("data_location")  # some exporters say that it is here: the same model
    normalise(model)
    return model


def normalise(model: onnx.ModelProto) -> None:
    """Put the nodes in order and name the inputs' dynamic dimensions, in place."""
    name_dims(model)
    nodes = list(model.graph.node)
    order = in_order(nodes)
    if order != list(range(len(nodes))):
        copies = [onnx.NodeProto.FromString(nodes[i].SerializeToString()) for i in order]
        del model.graph.node[:]
        model.graph.node.extend(copies)


def refuse_nul(graph: onnx.GraphProto) -> None:
    """Browsers hand strings on as C strings: what holds a NUL would be cut there without a word."""
    held = [text for tensor in graph.initializer for text in tensor.string_data]
    for node in graph.node:
        held += [text for tensor in _tensors(node) for text in tensor.string_data]
        held += [text for item in node.attribute for text in (item.s, *item.strings)]
        for body in bodies(node):
            refuse_nul(body)
    if any(b"\0" in text for text in held):
        raise InvalidModel(
            "it holds a string with a NUL character, at which browsers cut strings; write it without"
        )


def _tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    """The tensors that a node carries itself."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR:
            yield attribute.t
        elif attribute.type == onnx.AttributeProto.TENSORS:
            yield from attribute.tensors


def pack(path: Path, folder: Path) -> tuple[str, Path]:
    """Store a model as one immutable file, external data inside; returns its SHA-256 and path."""
    return store(serialise(load(path)), folder)


def ports(model: onnx.ModelProto) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs, every dynamic dimension named.

    Weights that are listed as inputs may be overridden (ONNX IR 4 and later): such an input is optional.

    Raises:
        InvalidModel: a port that is no tensor (a sequence, a map), which cannot travel.
    """
    defaults = {
        item.key[len(DEFAULT_PREFIX) :]: item.value
        for item in model.metadata_props
        if item.key.startswith(DEFAULT_PREFIX)
    }
    weights = {item.name for item in model.graph.initializer}
    weights |= {item.values.name for item in model.graph.sparse_initializer}
    inputs = [
        _port(item, optional=item.name in weights, default=defaults.get(item.name))
        for item in model.graph.input
        if item.name not in weights or model.ir_version >= 4
    ]
    outputs = [_port(item) for item in _typed_outputs(model)]
    return tuple(inputs), tuple(outputs)


def _typed_outputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The outputs, with what inference finds where the file itself says nothing."""
    inferred = infer_types(model, [item.name for item in model.graph.output])
    typed = []
    for item in model.graph.output:
        found = inferred.get(item.name)
        tensor = item.type.tensor_type
        declared = item.type.WhichOneof("value")
        shape = found.shape if found is not None else None
        if found and shape is not None and (declared is None or not tensor.HasField("shape")):
            typed.append(TensorSpec(item.name, found.dtype, shape).value_info())
            continue
        merged = onnx.ValueInfoProto()
        merged.CopyFrom(item)
        dims = merged.type.tensor_type.shape.dim if declared == "tensor_type" else []
        if shape is not None and len(shape) == len(dims):
            for dim, size in zip(dims, shape, strict=True):
                if not dim.dim_param and not dim.HasField("dim_value"):
                    if isinstance(size, int):
                        dim.dim_value = size
                    else:
                        dim.dim_param = size
        typed.append(merged)
    return typed


def _port(
    item: onnx.ValueInfoProto, *, optional: bool = False, default: str | None = None
) -> TensorSpec:
    kind = item.type.WhichOneof("value")
    tensor = item.type.tensor_type
    if kind != "tensor_type":
        what = (kind or "of no known type").removesuffix("_type")
        raise InvalidModel(
            f"port {item.name!r} is {what}; webpool carries tensors only: export the model with "
            "tensor inputs and outputs (for scikit-learn, zipmap=False)"
        )
    try:
        dtype = dtype_of(tensor.elem_type)
    except KeyError as error:
        raise InvalidModel(
            f"port {item.name!r} has the element type {_type_name(tensor.elem_type)}, which has no form "
            "on the way to a browser; cast it to float32 inside the model"
        ) from error
    if not tensor.HasField("shape"):
        raise InvalidModel(
            f"port {item.name!r} has no shape; export the model with its rank declared"
        )
    sizes = [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim
    ]
    return TensorSpec(item.name, dtype, named_dims(item.name, sizes), optional, default)


def _type_name(code: int) -> str:
    return str(onnx.TensorProto.DataType.Name(code)).lower() if code else "undefined"


def constant_bytes(node: onnx.NodeProto) -> int:
    """Bytes of the tensors that a node carries itself: a Constant's value, the weights in a body."""
    own = sum(map(tensor_bytes, _tensors(node)))
    return own + sum(
        sum(map(tensor_bytes, body.initializer)) + sum(map(constant_bytes, body.node))
        for body in bodies(node)
    )


def tensor_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of an initialiser's elements, which need not be there."""
    if tensor.raw_data:
        return len(tensor.raw_data)
    if tensor.data_type == onnx.TensorProto.STRING:
        return sum(map(len, tensor.string_data))
    return stored_bytes(tensor)
