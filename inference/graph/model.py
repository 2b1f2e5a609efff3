"""Read an ONNX file, whatever wrote it: its ports, its weights, what it is made of."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from google.protobuf.message import DecodeError, EncodeError
from onnx import helper
from onnx.external_data_helper import uses_external_data

from inference.graph.batch_axis import BatchAxis
from inference.graph.spec import TensorSpec, dtype_of
from inference.graph.structure import bodies, in_order
from inference.graph.types import infer_types, name_dims, named_dims

DEFAULT_PREFIX = "webpool.default."  # metadata_props: how a missing input is filled in
# Types of which several elements share a byte.
_PACKED_BITS: dict[int, int] = {
    onnx.TensorProto.INT4: 4, onnx.TensorProto.UINT4: 4, onnx.TensorProto.FLOAT4E2M1: 4,
    onnx.TensorProto.INT2: 2, onnx.TensorProto.UINT2: 2,
}  # fmt: skip
_LIMIT = 2**31 - 1  # protobuf's own limit for one message


class InvalidModel(ValueError):
    """The file is no ONNX model that onnxruntime can run; says why and what to do."""


def load(path: Path) -> onnx.ModelProto:
    """Parse a file with its external data; nodes in order, dynamic dimensions of inputs named.

    Raises:
        InvalidModel: missing, truncated, not ONNX, or inconsistent.
    """
    try:
        _refuse_large(path.stat().st_size)
        model = onnx.load(str(path), load_external_data=False)
        _refuse_large(path.stat().st_size + _external_bytes(model))
        onnx.load_external_data_for_model(model, str(path.parent))
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
            f"it cannot be read as ONNX ({_first_line(error)}); expected a complete .onnx file, "
            "with its external data beside it"
        ) from error
    if not model.graph.output:
        raise InvalidModel("it holds no ONNX graph with an output; expected an .onnx file")
    for tensor in model.graph.initializer:
        tensor.ClearField("data_location")  # inside the file now: the same model, the same bytes
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


def _external_bytes(model: onnx.ModelProto) -> int:
    """Bytes of the weights that lie in other files, as their shapes declare them."""
    return sum(
        math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in model.graph.initializer
        if uses_external_data(tensor)
    )


def _refuse_large(size: int) -> None:
    if size > _LIMIT:
        raise InvalidModel(
            f"it is {size / 2**30:.1f} GB, more than the 2 GB that one ONNX file can hold with its "
            "weights inside; use smaller or quantised weights"
        )


def serialise(model: onnx.ModelProto) -> bytes:
    """Deterministic bytes.

    Raises:
        InvalidModel: more than protobuf can hold in one file (2 GB).
    """
    _refuse_large(model.ByteSize())
    try:
        raw: bytes = model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise InvalidModel(f"it cannot be written as ONNX ({_first_line(error)})") from error
    return raw


def store(raw: bytes, folder: Path) -> tuple[str, Path]:
    """Write bytes as an immutable file named by their SHA-256, completely or not at all."""
    sha256 = hashlib.sha256(raw).hexdigest()
    path = folder / sha256
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".part-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    return sha256, path


def session(raw: bytes | str, *, optimise: bool = True) -> onnxruntime.InferenceSession:
    """A CPU session of onnxruntime, the reference for everything.

    Raises:
        InvalidModel: onnxruntime refuses it, with its reason.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        # Its fallback would print, and try the same provider again.
        return onnxruntime.InferenceSession(
            raw, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # onnxruntime raises types of its own per status code
        raise InvalidModel(f"onnxruntime refuses it: {_first_line(error)}") from error


@dataclasses.dataclass(frozen=True)
class ModelSummary:
    """What was read from a graph.

    Attributes:
        sha256: of the model as one file, external data inside.
        weight_bytes: bytes of all initialisers.
        max_shards: how many layer shards the graph allows.
        layers: repeated blocks found in the graph's structure.
        cuts: legal cuts: after how many nodes, the tensors that cross, their bytes at example sizes.
        batch_axis: whether a batch may be split, and what that rests on.
    """

    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opsets: dict[str, int]
    operators: dict[str, int]
    producer: str
    node_count: int
    weight_bytes: int
    file_bytes: int
    max_shards: int
    layers: int
    cuts: tuple[dict[str, Any], ...]
    batch_axis: BatchAxis

    def to_json(self) -> dict[str, Any]:
        return {
            **dataclasses.asdict(self),
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "batch_axis": self.batch_axis.to_json(),
        }


def read_model(path: Path) -> ModelSummary:
    """Read and check a file with onnx and onnxruntime.

    Raises:
        InvalidModel: says what was expected, what came and what to do.
    """
    try:
        return _summary(load(path))
    except UnicodeDecodeError as error:
        raise InvalidModel(f"it holds a name that is not UTF-8: {error}") from error


def _summary(model: onnx.ModelProto) -> ModelSummary:
    from inference.graph.batch import batch_axis
    from inference.graph.cut import Cutter

    _refuse_nul(model.graph)
    raw = serialise(model)
    runtime = session(raw)
    inputs, outputs = ports(model)
    cutter = Cutter(model)
    return ModelSummary(
        sha256=hashlib.sha256(raw).hexdigest(),
        inputs=inputs,
        outputs=outputs,
        opsets={item.domain or "ai.onnx": item.version for item in model.opset_import},
        operators=dict(sorted(Counter(node.op_type for node in model.graph.node).items())),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        node_count=len(model.graph.node),
        weight_bytes=sum(map(tensor_bytes, model.graph.initializer))
        + sum(map(constant_bytes, model.graph.node)),
        file_bytes=len(raw),
        max_shards=cutter.max_shards,
        layers=cutter.layers,
        cuts=tuple(cutter.describe_cuts()),
        batch_axis=batch_axis(cutter.graph, runtime, inputs, outputs),
    )


def _refuse_nul(graph: onnx.GraphProto) -> None:
    """Browsers hand strings on as C strings: what holds a NUL would be cut there without a word."""
    held = [text for tensor in graph.initializer for text in tensor.string_data]
    for node in graph.node:
        held += [text for tensor in _tensors(node) for text in tensor.string_data]
        held += [text for item in node.attribute for text in (item.s, *item.strings)]
        for body in bodies(node):
            _refuse_nul(body)
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
    bits = _PACKED_BITS.get(tensor.data_type)
    if bits is None:
        bits = 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return (math.prod(tensor.dims) * bits + 7) // 8


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
