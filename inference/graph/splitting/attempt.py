"""One region in the making: from its end backward to what can be split by columns.

What both sides of an operator need whole stays whole; what is needed in parts along an inner axis but comes
from elsewhere (a bias for each head, a cache) is sliced.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence, Set

from inference.graph.cutting.attention import FUSED
from inference.graph.indexed import GraphIndex
from inference.graph.splitting.flows import flow
from inference.graph.splitting.matrices import by_columns, by_rows
from inference.graph.splitting.splits import Asked, Flow, Shapes, Split
from inference.graph.steps import Role

_SMALL_ELEMENTS = 4096  # constants up to this size are copied whole and sliced in the browser
_MOST_STEPS = 2000  # backward, in one attempt
# Operators that exporters compute shapes with.
_OF_INTEGERS = frozenset(
    {"Shape", "Gather", "Slice", "Unsqueeze", "Squeeze", "Concat", "Cast", "Identity", "Reshape",
     "Add", "Sub", "Mul", "Div"}
)  # fmt: skip
# Operators through which a part of a result comes from a part of a weight.
_OF_WEIGHTS = frozenset({"Transpose", "Identity", "Cast", "DequantizeLinear"})


@dataclasses.dataclass(frozen=True)
class Region:
    """Nodes that several browsers compute in parts.

    Attributes:
        flows: what is split of each node, by its index.
        splits: of every tensor that is split.
        sliced: activations that are whole outside, of which each part takes a slice.
        repeated: integers read from the shapes of parts, which every part computes for itself.
        units: how many parts it can have at most.
    """

    flows: dict[int, Flow]
    splits: dict[str, Split]
    sliced: frozenset[str]
    repeated: frozenset[str]
    units: int
    role: Role


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What an attempt looks at: the graph, who reads each tensor, and nodes that are in regions already."""

    graph: GraphIndex
    shapes: Shapes
    readers: Mapping[str, Sequence[int]]
    taken: Set[int]


class Attempt:
    """One region in the making."""

    def __init__(self, around: Surroundings) -> None:
        self.around, self.graph, self.shapes = around, around.graph, around.shapes
        self.flows: dict[int, Flow] = {}
        self.splits: dict[str, Split] = {}
        self.sliced: dict[str, None] = {}
        self.steps = 0
        self.columns: dict[int, None] = {}  # products that are split by columns

    def ending_in(self, end: int) -> Region | None:
        """The region that ends in a product with weights, split by rows."""
        node = self.graph.nodes[end]
        flowing = by_rows(node, self.shapes, self.graph.is_fixed)
        if flowing is None or not self._enter(end, flowing) or not self.columns:
            return None
        attending = any(self.graph.nodes[i].op_type in FUSED | {"Softmax"} for i in self.flows)
        return self._checked(Role.HEADS if attending else Role.INNER)

    def alone(self, index: int) -> Region | None:
        """A product with weights, or a look-up in them, that is split by columns."""
        flowing = by_columns(self.graph.nodes[index], self.shapes, self.graph.is_fixed)
        if flowing is None or not self._enter(index, flowing):
            return None
        return self._checked(Role.COLUMNS)

    # --- backward --------------------------------------------------------------------------------

    def _enter(self, index: int, flowing: Flow) -> bool:
        """Take a node in, and everything it needs split."""
        node = self.graph.nodes[index]
        if index in self.flows:
            return self.flows[index] == flowing
        self.flows[index] = flowing
        for position, split in flowing.outputs.items():
            name = node.output[position] if position < len(node.output) else ""
            if name and self.splits.setdefault(name, split) != split:
                return False
        return all(self._need(node.input[i], split) for i, split in flowing.inputs.items())

    def _need(self, name: str, split: Split) -> bool:
        """Make sure that a tensor is there in parts."""
        if name in self.splits:
            return self.splits[name] == split
        shape = self.shapes.of(name)
        if shape is None or not self.shapes.fixed(name, split.axis):
            return False
        if name in self.graph.dense:
            if name in self.graph.overridable:
                return False
            self.splits[name] = split
            return True
        marks = [len(part) for part in self._state]
        if self._backward(name, split):
            return True
        for part, mark in zip(self._state, marks, strict=True):
            while len(part) > mark:
                part.popitem()
        return self._slice(name, split, shape)

    @property
    def _state(self) -> tuple[dict, ...]:
        return self.flows, self.splits, self.sliced, self.columns

    def _backward(self, name: str, split: Split) -> bool:
        """Compute the parts from parts of what the tensor comes from: weights, split by columns."""
        index = self.graph.producer.get(name)
        self.steps += 1
        if index is None or index in self.around.taken or self.steps > _MOST_STEPS:
            return False
        node = self.graph.nodes[index]
        output = list(node.output).index(name)
        asked = Asked(node, output, split, self.shapes, self.graph.constant)
        if index in self.graph.fixed:
            flowing = flow(asked) if node.op_type in _OF_WEIGHTS else None
            return flowing is not None and self._enter(index, flowing)
        columns = by_columns(node, self.shapes, self.graph.is_fixed, outer=split.outer)
        if columns is not None and node.op_type != "Gather":
            self.columns[index] = None
            return columns.outputs[output] == split and self._enter(index, columns)
        flowing = flow(asked)
        if flowing is None or not self._enter(index, flowing):
            return False
        return any(self._made_inside(node.input[i]) for i in flowing.inputs)

    def _slice(self, name: str, split: Split, shape: tuple[int, ...]) -> bool:
        """Have the tensor whole, and slice it: not along the last axis, which activations are wide in."""
        fixed = self.graph.is_fixed(name)
        small = fixed and math.prod(shape) <= _SMALL_ELEMENTS
        if split.outer > 1 or not (small or (not fixed and split.axis < len(shape) - 1)):
            return False
        if not fixed and name in self.graph.producer and name not in self.graph.types:
            return False
        self.splits[name] = split
        self.sliced[name] = None
        return True

    # --- what was found --------------------------------------------------------------------------

    def _checked(self, role: Role) -> Region | None:
        uncounted = {
            self.graph.nodes[i].input[position]
            for i, found in self.flows.items()
            for position in found.uncounted
            if position < len(self.graph.nodes[i].input)
        }
        runs = [
            split.run(self.shapes.of(name) or ())
            for name, split in self.splits.items()
            if name not in uncounted
        ]
        units = math.gcd(*runs, *(unit for found in self.flows.values() for unit in found.units))
        repeated = self._repeat_shapes()
        if units < 2 or repeated is None or not self._consistent() or not self._convex():
            return None
        return Region(self.flows, self.splits, frozenset(self.sliced), repeated, units, role)

    def _repeat_shapes(self) -> frozenset[str] | None:
        """Take in what reads the shapes of parts to reshape parts; None if it reads the split axis."""
        repeated: set[str] = set()
        for index, flowing in list(self.flows.items()):
            if flowing.shape_input is None:
                continue
            chain = self._chain(self.graph.nodes[index].input[flowing.shape_input[0]])
            for at in sorted(chain):
                node = self.graph.nodes[at]
                split = self.splits.get(node.input[0]) if node.op_type == "Shape" else None
                if split is not None and self._made_inside(node.input[0]):
                    if self._reads(at, split.axis, len(self.shapes.of(node.input[0]) or ())):
                        return None
                    self.flows.setdefault(at, Flow({0: split}, {}))
                    repeated.update(node.output)
                elif repeated.intersection(node.input):
                    self.flows.setdefault(at, Flow({}, {}))
                    repeated.update(node.output)
        return frozenset(repeated)

    def _chain(self, name: str) -> set[int]:
        """The nodes that compute a shape, from the Shape nodes on."""
        found: set[int] = set()
        stack = [name]
        while stack:
            index = self.graph.producer.get(stack.pop())
            if index is None or index in found or index in self.graph.fixed:
                continue
            kind = self.graph.nodes[index].op_type
            if kind in _OF_INTEGERS:
                found.add(index)
                stack.extend(self.graph.nodes[index].input if kind != "Shape" else ())
        return found

    def _reads(self, shape: int, axis: int, rank: int) -> bool:
        """Whether somebody may read the size of an axis from what a Shape node gives."""
        node = self.graph.nodes[shape]
        if node.attribute:  # a stretch of the shape
            return True
        for reader in self.around.readers[node.output[0]]:
            taking = self.graph.nodes[reader]
            at = self.graph.constant(taking.input[1]) if len(taking.input) > 1 else None
            if at is None:
                return True
            if taking.op_type == "Slice":
                ends = self.graph.constant(taking.input[2])
                steps = self.graph.constant(taking.input[4]) if len(taking.input) > 4 else [1]
                if ends is None or steps != [1]:
                    return True
                at = list(range(rank))[at[0] : ends[0]]
            elif taking.op_type != "Gather":
                return True
            if axis in {place % rank for place in at}:
                return True
        return False

    def _consistent(self) -> bool:
        """Nobody takes whole what is there in parts only; what others take can be put together."""
        inside = {name for name in self.splits if self._made_inside(name)}
        for index, flowing in self.flows.items():
            node = self.graph.nodes[index]
            whole = {n for i, n in enumerate(node.input) if i not in flowing.inputs}
            if whole & inside:
                return False
            unsplit = {n for n in node.output if n} - set(self.splits)
            if not flowing.partial and any(map(self._escapes, unsplit)):
                return False
        ends = [n for i, f in self.flows.items() if f.partial for n in self.graph.nodes[i].output]
        escaping = [name for name in inside if self._escapes(name)]
        return all(self.splits[name].outer == 1 for name in escaping) and all(
            name in self.graph.types for name in (*escaping, *ends)
        )

    def _made_inside(self, name: str) -> bool:
        index = self.graph.producer.get(name)
        return index in self.flows and index not in self.graph.fixed and name not in self.sliced

    def _escapes(self, name: str) -> bool:
        """Whether somebody outside takes it."""
        readers = self.around.readers[name]
        return name in self.graph.graph_outputs or any(i not in self.flows for i in readers)

    def _convex(self) -> bool:
        """Whether nothing that the region needs is computed from what it makes."""
        end = max(self.flows)
        seen: set[int] = set()
        stack = [i for i in self.flows if i not in self.graph.fixed]
        while stack:
            at = stack.pop()
            for name in self.graph.nodes[at].output:
                for reader in self.around.readers[name]:
                    if reader in self.flows:
                        if at not in self.flows:
                            return False
                    elif reader not in seen and reader < end:
                        seen.add(reader)
                        stack.append(reader)
        return True
