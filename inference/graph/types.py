"""Types and symbolic shapes of intermediate tensors.

1. onnx's shape inference, on a copy without the large weights' bytes, without what the file claims
   about intermediate tensors and outputs (exporters get that wrong), and with unnamed dynamic
   dimensions of the inputs named. Foreign operators that it does not know have stand-ins.
2. Where an operator gives no shape although it fixes the rank (Reshape to a computed shape), the rank
   is added and 1 repeated.
3. What is still unknown (operators of foreign domains) is asked of onnxruntime's own inference, if the
   weights are there. It writes a scalar and an unknown rank alike as []: that is taken for an unknown rank.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import onnx
from onnx import TensorProto, helper
from onnx.external_data_helper import uses_external_data

from inference.graph.files import serialise
from inference.graph.runtime import session
from inference.graph.spec import dtype_of, dtype_of_runtime
from inference.graph.standins import replace_foreign

_SMALL_BYTES = 4096  # weights up to this size may be shapes and axes, whose values inference needs
_ROUNDS = 8
# The input whose length is the rank of the output.
_RANK_FROM = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0}


@dataclasses.dataclass(frozen=True)
class Typed:
    """What is known of an intermediate tensor; every dynamic dimension has a name.

    `shape` is None where not even the rank is known.
    """

    dtype: str
    shape: tuple[int | str, ...] | None


def infer_types(model: onnx.ModelProto, names: Iterable[str]) -> dict[str, Typed]:
    """The tensors among `names` whose type is known and which may travel.

    Left out: sequences, optionals, types without a wire form, operators that nobody knows.
    """
    wanted = sorted(set(names))
    found, other = _by_onnx(model, wanted)
    unknown = [name for name in wanted if name not in found and name not in other]
    if unknown and not any(map(uses_external_data, model.graph.initializer)):
        found |= _by_runtime(model, unknown)
    return found


def example_shapes(model: onnx.ModelProto, *, first: int, other: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors whose sizes follow when each dynamic dimension of the inputs has a size.

    `first` is the size of dimensions that are some input's first (a batch), `other` of the rest.
    """
    probe = _without_weights(model)
    sizes: dict[str, int] = {}
    for item in probe.graph.input:
        for axis, dim in enumerate(item.type.tensor_type.shape.dim):
            if dim.dim_param:
                dim.dim_value = sizes.setdefault(dim.dim_param, other if axis else first)
    shapes = {}
    for item in _inferred(probe):
        tensor = item.type.tensor_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            shapes[item.name] = tuple(int(dim.dim_value) for dim in tensor.shape.dim)
    return shapes


# "?" is how some exporters write that a dimension has no name: two of them need not be equal.
_UNNAMED = ("", "?")


def named_dims(tensor: str, shape: Iterable[int | str | None]) -> tuple[int | str, ...]:
    """A shape whose dynamic dimensions all have a name; invented ones are the tensor's own."""
    return tuple(
        size
        if (isinstance(size, int) and size >= 0) or (isinstance(size, str) and size not in _UNNAMED)
        else f"{tensor}_dim{axis}"
        for axis, size in enumerate(shape)
    )


def name_dims(model: onnx.ModelProto) -> None:
    """Give every dynamic dimension of the inputs a name: browsers set sizes by name only."""
    for item in model.graph.input:
        if item.type.HasField("tensor_type"):
            for axis, dim in enumerate(item.type.tensor_type.shape.dim):
                if dim.dim_param in _UNNAMED and not (
                    dim.HasField("dim_value") and dim.dim_value >= 0
                ):
                    dim.dim_param = f"{item.name}_dim{axis}"


def _by_onnx(
    model: onnx.ModelProto, wanted: Sequence[str]
) -> tuple[dict[str, Typed], frozenset[str]]:
    """What onnx infers, and the names it knows to be no tensors."""
    probe = _without_weights(model)
    for _ in range(_ROUNDS):
        known = {item.name: item.type for item in _inferred(probe)}
        hints = list(_rank_hints(probe, known))
        if not hints:
            break
        probe.graph.value_info.extend(hints)
    found: dict[str, Typed] = {}
    other: set[str] = set()
    for name in wanted:
        kind = known.get(name)
        if kind is None or kind.WhichOneof("value") is None:
            continue
        if kind.WhichOneof("value") != "tensor_type":
            other.add(name)
            continue
        tensor = kind.tensor_type
        try:
            dtype = dtype_of(tensor.elem_type)
        except KeyError:
            if tensor.elem_type:
                other.add(name)
            continue
        ranked = tensor.HasField("shape")
        shape = named_dims(name, map(_size, tensor.shape.dim)) if ranked else None
        found[name] = Typed(dtype, shape)
    return found, frozenset(other)


def _inferred(probe: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    try:
        graph = onnx.shape_inference.infer_shapes(probe, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        graph = probe.graph  # onnxruntime is asked instead
    return [*graph.value_info, *graph.output, *graph.input]


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    probe = onnx.ModelProto()
    probe.ir_version = model.ir_version
    probe.opset_import.extend(model.opset_import)
    probe.functions.extend(model.functions)
    probe.graph.name = model.graph.name or "graph"
    probe.graph.node.extend(model.graph.node)
    probe.graph.input.extend(model.graph.input)
    name_dims(probe)
    for output in model.graph.output:
        bare = probe.graph.output.add()
        bare.CopyFrom(output)
        if bare.type.HasField("tensor_type"):
            bare.type.tensor_type.ClearField("shape")
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) * 8 <= _SMALL_BYTES and not uses_external_data(tensor):
            probe.graph.initializer.append(tensor)
        else:
            probe.graph.initializer.append(
                TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            )
    probe.graph.sparse_initializer.extend(model.graph.sparse_initializer)
    replace_foreign(probe.graph)
    return probe


def _rank_hints(
    probe: onnx.ModelProto, known: dict[str, onnx.TypeProto]
) -> Iterable[onnx.ValueInfoProto]:
    constants = {tensor.name: list(tensor.dims) for tensor in probe.graph.initializer}
    hinted = {item.name for item in probe.graph.value_info}
    for node in probe.graph.node:
        at = _RANK_FROM.get(node.op_type)
        if at is None or node.domain not in ("", "ai.onnx") or len(node.input) <= at:
            continue
        out = known.get(node.output[0])
        if node.output[0] in hinted or out is None or out.tensor_type.HasField("shape"):
            continue
        least = 0
        if node.op_type == "Expand":  # broadcasts: the longer of its data and its shape decides
            data = known.get(node.input[0])
            if data is None or not data.tensor_type.HasField("shape"):
                continue
            least = len(data.tensor_type.shape.dim)
        length = constants.get(node.input[at])
        if length is None and (kind := known.get(node.input[at])) is not None:
            length = [_size(dim) for dim in kind.tensor_type.shape.dim]
        if length and isinstance(length[0], int) and out.tensor_type.elem_type:
            yield helper.make_tensor_value_info(
                node.output[0], out.tensor_type.elem_type, [None] * max(length[0], least)
            )


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return str(dim.dim_param) or None


def _by_runtime(model: onnx.ModelProto, wanted: Sequence[str]) -> dict[str, Typed]:
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.value_info[:]
    already = {output.name for output in probe.graph.output}
    probe.graph.output.extend(onnx.ValueInfoProto(name=n) for n in wanted if n not in already)
    found = {}
    for item in session(serialise(probe), optimise=False).get_outputs():
        dtype = dtype_of_runtime(item.type)
        if item.name in wanted and dtype is not None:
            shape = named_dims(item.name, item.shape) if item.shape else None
            found[item.name] = Typed(dtype, shape)
    return found
