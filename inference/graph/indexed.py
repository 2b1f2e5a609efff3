"""A graph, indexed: who makes and uses each tensor, which nodes count, sizes of weights and tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property

import numpy as np
import onnx
from onnx import helper, numpy_helper

from inference.graph.costs import ASSUMED_FIRST, ASSUMED_OTHER, assumed, item_bytes
from inference.graph.model import constant_bytes, ports, tensor_bytes
from inference.graph.spec import TensorSpec
from inference.graph.structure import fixed_nodes, used, with_ancestors
from inference.graph.types import Typed, example_shapes, infer_types

IR_VERSION = 4  # since then weights need not be listed as inputs
_SMALL_VECTOR = 64  # elements
_UNRANKED_ELEMENTS = 2**16  # assumed for a tensor of unknown rank


def model_like(source: onnx.ModelProto, graph: onnx.GraphProto) -> onnx.ModelProto:
    """A part of `source` as a model of its own, with its opsets, functions and metadata."""
    model = helper.make_model(
        graph,
        opset_imports=list(source.opset_import),
        functions=list(source.functions),
        ir_version=max(source.ir_version, IR_VERSION),
        producer_name=source.producer_name or "webpool",
        producer_version=source.producer_version,
    )
    model.metadata_props.extend(source.metadata_props)
    return model


class GraphIndex:
    """What can be looked up about a graph; nothing of it is read from names.

    Attributes:
        uses: for each node the names it takes, what its bodies capture included.
        producer: tensor → index of the node that makes it.
        live: nodes that some output depends on.
        fixed: live nodes that depend on weights and constants alone (a transposed or dequantised weight).
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        graph = model.graph
        self.nodes = list(graph.node)
        self.dense = {item.name: item for item in graph.initializer}
        self.sparse = {item.values.name: item for item in graph.sparse_initializer}
        self.weights = frozenset(self.dense) | frozenset(self.sparse)
        listed = {item.name for item in graph.input} & self.weights
        self.overridable = listed if model.ir_version >= IR_VERSION else set()
        self.graph_outputs = [item.name for item in graph.output]
        self.uses = [tuple(sorted(used(node))) for node in self.nodes]
        self.producer = {
            name: index for index, node in enumerate(self.nodes) for name in node.output if name
        }
        ends = {self.producer[name] for name in self.graph_outputs if name in self.producer}
        self.live = with_ancestors(ends, self.uses, self.producer)
        self.fixed = self.live & fixed_nodes(self.nodes, self.uses, self.weights - self.overridable)

    # --- types and shapes ------------------------------------------------------------------------

    @cached_property
    def types(self) -> dict[str, Typed]:
        """Tensors that may cross: those of known type."""
        return infer_types(
            self.model, [name for i in self.live for name in self.nodes[i].output if name]
        )

    @cached_property
    def inputs(self) -> dict[str, TensorSpec]:
        return {spec.name: spec for spec in ports(self.model)[0]}

    @cached_property
    def outputs(self) -> dict[str, TensorSpec]:
        return {spec.name: spec for spec in ports(self.model)[1]}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Example shapes of everything that has a known one."""
        shapes = {name: assumed(spec.shape) for name, spec in self.inputs.items()}
        shapes |= {
            name: assumed(typed.shape)
            for name, typed in self.types.items()
            if typed.shape is not None
        }
        shapes |= example_shapes(self.model, first=ASSUMED_FIRST, other=ASSUMED_OTHER)
        return shapes | {name: tuple(tensor.dims) for name, tensor in self.dense.items()}

    def bytes_of(self, name: str) -> int:
        """Bytes of an activation at example sizes; 0 if its type is unknown."""
        typed = self.types.get(name)
        if typed is None:
            return 0
        shape = self.shapes.get(name, (_UNRANKED_ELEMENTS,))
        return math.prod(shape) * item_bytes(typed.dtype)

    def spec(self, name: str) -> TensorSpec:
        """What inference found counts for more than what the file declares of an output."""
        found = self.types.get(name)
        if found is None or (found.shape is None and name in self.outputs):
            return self.outputs[name]
        return TensorSpec(name, found.dtype, found.shape or (), any_rank=found.shape is None)

    # --- weights ---------------------------------------------------------------------------------

    def weight_bytes(self, names: Iterable[str], nodes: Iterable[int]) -> dict[str, int]:
        """Bytes of weights, and of constants that nodes carry themselves, by who carries them."""
        found = {
            name: tensor_bytes(self.dense[name])
            if name in self.dense
            else len(self.sparse[name].SerializeToString())
            for name in names
        }
        own = {f"node {i}": constant_bytes(self.nodes[i]) for i in nodes}
        return found | {key: size for key, size in own.items() if size}

    def fixed_for(self, index: int) -> set[int]:
        """The fixed nodes that a node's inputs come from."""
        direct = {self.producer[n] for n in self.uses[index] if n in self.producer} & self.fixed
        return with_ancestors(direct, self.uses, self.producer)

    def is_fixed(self, name: str) -> bool:
        """Whether a tensor is a weight, or computed from weights alone."""
        return name in self.weights or self.producer.get(name) in self.fixed

    def has_weights(self, index: int) -> bool:
        """Whether a node takes a weight of more than one element."""
        return any(
            math.prod(self.shapes.get(name, (1,))) > 1
            for name in self.uses[index]
            if self.is_fixed(name)
        )

    def constant(self, name: str) -> list[int] | None:
        """The values of a small vector of integers that the file itself holds; None for anything else."""
        tensor = self.dense.get(name)
        index = self.producer.get(name)
        if index is not None and self.nodes[index].op_type == "Constant":
            given = {item.name: item for item in self.nodes[index].attribute}
            if "value_ints" in given:
                return list(given["value_ints"].ints)
            tensor = given["value"].t if "value" in given else None
        if tensor is None or tensor.data_type != onnx.TensorProto.INT64 or tensor.external_data:
            return None
        if name in self.overridable or math.prod(tensor.dims) > _SMALL_VECTOR:
            return None
        return [int(value) for value in np.ravel(numpy_helper.to_array(tensor))]
