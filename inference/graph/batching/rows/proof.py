"""Walk a graph and prove that each row of its outputs depends on the same row of its inputs alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import TensorProto, inliner, numpy_helper

from inference.graph.batching.rows.counting import MOST, counted
from inference.graph.batching.rows.rules import COUNTS, rule_of
from inference.graph.batching.rows.sizes import ONE, ROWS, Size, symbol
from inference.graph.batching.rows.values import Operation, Unclear, Value, whole
from inference.graph.indexed import GraphIndex
from inference.graph.spec import TensorSpec
from inference.graph.structure import RANDOM, bodies

_OLDEST = 7  # operator set: before, broadcasting was an attribute
_INTEGERS = (TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL)
_COUNTS = "it depends on how many rows the batch has"


def prove(graph: GraphIndex, inputs: Sequence[TensorSpec], batched: Sequence[str]) -> str:
    """Why it cannot be proved that a batch may be split; empty where it is proved.

    Args:
        batched: names of the inputs whose first axis is the batch, the same symbolic dimension in all.
    """
    if graph.model.functions:
        try:
            graph = GraphIndex(inliner.inline_local_functions(graph.model))
        except (RuntimeError, ValueError) as error:
            return f"its functions cannot be followed: {str(error).splitlines()[0][:200]}"
    version = next((o.version for o in graph.model.opset_import if o.domain in ("", "ai.onnx")), 1)
    if version < _OLDEST:
        return f"operator set {version} cannot be followed, only {_OLDEST} and later"
    return _Walk(graph, version).why_not(inputs, batched)


class _Walk:
    def __init__(self, graph: GraphIndex, version: int) -> None:
        self.graph, self.version = graph, version
        self.values: dict[str, Value] = {}

    def why_not(self, inputs: Sequence[TensorSpec], batched: Sequence[str]) -> str:
        for name, tensor in self.graph.dense.items():
            fixed = None if name in self.graph.overridable else tensor
            self.values[name] = _weight(tensor.dims, fixed)
        for name in self.graph.sparse:
            self.values[name] = whole(None)
        for spec in inputs:
            self.values[spec.name] = _input(spec, spec.name in batched)
        for index in sorted(self.graph.live):
            self._visit(self.graph.nodes[index], self.graph.uses[index])
        for name in self.graph.graph_outputs:
            if why := _wrong(self.values[name]):
                return f"output {name!r}: {why}"
        return ""

    def _visit(self, node: onnx.NodeProto, uses: Sequence[str]) -> None:
        values = [self.values[name] for name in uses]
        made = list(self._made(node, all(value.whole for value in values)))
        for name, value in zip(node.output, made, strict=True):
            if name:
                self.values[name] = self._refined(name, value)

    def _made(self, node: onnx.NodeProto, fixed: bool) -> Iterator[Value]:
        """A value for each output; `fixed`: nothing that the node takes depends on the batch."""
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            yield _constant(node)
            return
        try:
            found = self._by_rule(node)
            why = "this output is not followed"
        except Unclear as unclear:
            found, why = [], str(unclear)
        for output in range(len(node.output)):
            if output < len(found):
                yield found[output]
            elif fixed and _is_fixed(node):
                yield whole(None)
            else:
                yield Value(None, mixed=_told(node, why))

    def _by_rule(self, node: onnx.NodeProto) -> list[Value]:
        inputs = [self.values[name] if name else None for name in node.input]
        operation = Operation(node, inputs, self.version, self._numbers)
        there = [value for value in inputs if value is not None]
        plain = node.domain in ("", "ai.onnx")
        if plain and (sizes := counted(operation)) is not None:
            return [_counting(*sizes, taken=there)]
        allowed = COUNTS.get(node.op_type, ()) if plain else ()
        for position, value in enumerate(inputs):
            if value is not None and value.mixed and position not in allowed:
                return [Value(None, mixed=value.mixed)] * len(node.output)
        rule = rule_of(node.domain, node.op_type)
        if rule is None:
            raise Unclear("nothing is known of this operator")
        alike = all(value.alike for value in there if value.axis is not None)
        return [
            dataclasses.replace(v, alike=v.axis is not None and (alike or v.alike))
            for v in rule(operation)
        ]

    def _refined(self, name: str, value: Value) -> Value:
        """With the sizes that shape inference knows."""
        typed = self.graph.types.get(name)
        shape = typed.shape if typed is not None else None
        if shape is None or value.mixed:
            return value
        if value.dims is None:
            named = [
                Size(d) if isinstance(d, int) else symbol(f"{name}:{i}")
                for i, d in enumerate(shape)
            ]
            return value.with_dims(named) if value.whole else value
        if len(shape) != len(value.dims) or value.sizes is not None:
            return value
        dims = [
            Size(d) if isinstance(d, int) and at != value.axis else known
            for at, (d, known) in enumerate(zip(shape, value.dims, strict=True))
        ]
        return dataclasses.replace(value, dims=tuple(dims))

    def _numbers(self, name: str) -> list[float] | None:
        """The values of a small constant."""
        tensor = self.graph.dense.get(name) if name not in self.graph.overridable else None
        maker = self.graph.producer.get(name)
        if maker is not None and self.graph.nodes[maker].op_type == "Constant":
            tensor = next(
                (a.t for a in self.graph.nodes[maker].attribute if a.name == "value"), None
            )
        if tensor is None or tensor.external_data or math.prod(tensor.dims) > MOST:
            return None
        if tensor.data_type == TensorProto.STRING:
            return None
        return [float(value) for value in np.ravel(numpy_helper.to_array(tensor))]


def _told(node: onnx.NodeProto, why: str) -> str:
    name = f" {node.name!r}" if node.name else ""
    return f"{node.op_type}{name}: {why}"


def _wrong(value: Value) -> str:
    if value.mixed:
        return value.mixed
    if value.axis is None:
        return "it does not depend on the batch"
    if value.axis or value.outer != ONE or value.known[0] != ROWS:
        return "its first axis is not that of the batch"
    return ""


def _input(spec: TensorSpec, batched: bool) -> Value:
    dims = [Size(d) if isinstance(d, int) else symbol(d) for d in spec.shape]
    if not batched:
        return whole(dims)
    return Value((ROWS, *dims[1:]), 0)


def _weight(dims: Sequence[int], tensor: TensorProto | None) -> Value:
    """`tensor` None: its values may be others."""
    entries = None
    small = len(dims) <= 1 and math.prod(dims) <= MOST
    if tensor is not None and small and tensor.data_type in _INTEGERS and not tensor.external_data:
        entries = tuple(Size(int(n)) for n in np.ravel(numpy_helper.to_array(tensor)))
    return Value(tuple(map(Size, dims)), sizes=entries)


def _constant(node: onnx.NodeProto) -> Value:
    given = {item.name: item for item in node.attribute}
    if "value" in given:
        return _weight(given["value"].t.dims, given["value"].t)
    if "value_int" in given:
        return Value((), sizes=(Size(given["value_int"].i),))
    if "value_ints" in given:
        entries = tuple(map(Size, given["value_ints"].ints))
        return Value((Size(len(entries)),), sizes=entries if len(entries) <= MOST else None)
    return whole(None)


def _counting(
    dims: tuple[Size, ...], entries: tuple[Size | None, ...], *, taken: Sequence[Value]
) -> Value:
    """Integers that are sizes; whole where no number of rows is among them."""
    free = all(size is not None and not size.degree for size in entries)
    if free or all(value.whole for value in taken):
        return Value(dims, sizes=entries)
    why = next((value.mixed for value in taken if value.mixed), "")
    return Value(dims, sizes=entries, mixed=why or _COUNTS)


def _is_fixed(node: onnx.NodeProto) -> bool:
    """Whether a node makes the same of the same, bodies included."""
    known = node.domain in ("", "ai.onnx", "ai.onnx.ml")
    known = known or rule_of(node.domain, node.op_type) is not None
    inner = (one for body in bodies(node) for one in body.node)
    return known and node.op_type not in RANDOM and all(map(_is_fixed, inner))
