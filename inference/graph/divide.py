"""Rewrite a graph so that each region is there once for every part, with a join behind it.

The rewritten graph computes the same as the original: parts take slices of the weights, a Concat or Sum
puts together what others want whole. Steps are then made of its nodes as of any graph's. No weight is
copied for it: `Divided.weight` takes the slices when a file is written.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from inference.graph.assemble import Piece
from inference.graph.indexed import GraphIndex
from inference.graph.levels import levels
from inference.graph.matrices import packed_bits
from inference.graph.regions import Region, find_regions
from inference.graph.slices import WeightSlice
from inference.graph.splits import Flow, Split
from inference.graph.standins import attributes
from inference.graph.steps import Role
from inference.graph.types import Typed


class TooManyParts(ValueError):
    """A layer's matrices cannot be split that often; `maximum` says how often."""

    def __init__(self, asked: int, maximum: int, what: str) -> None:
        self.asked, self.maximum = asked, maximum
        super().__init__(
            f"{asked} parts were asked for; expected at least 2 and at most {maximum}: {what}"
        )


class NothingToSplit(ValueError):
    """The graph has no product with weights that could be split; says what was looked for."""


@dataclasses.dataclass(frozen=True)
class Divided:
    """A rewritten graph, and the pieces its steps are made of."""

    graph: GraphIndex
    pieces: Sequence[Piece]
    source: GraphIndex
    slices: dict[str, WeightSlice]

    def weight(self, name: str) -> TensorProto:
        """A weight of the rewritten graph with its bytes."""
        part = self.slices.get(name)
        if part is None:
            return self.source.dense.get(name) or self.graph.dense[name]
        return part.take(self.source.dense[part.source], name)


def divide(source: GraphIndex, parts: int) -> Divided:
    """The graph with every region in that many parts.

    Raises:
        NothingToSplit: there is no region.
        TooManyParts: some region has fewer heads, columns or blocks than parts.
    """
    regions = find_regions(source)
    if not regions:
        raise NothingToSplit(
            "looked for large MatMul, Gemm, MatMulNBits or Gather nodes whose weights are in the file, "
            "with two axes; found none that can be split"
        )
    linked = [region for region in regions if region.role != Role.COLUMNS]
    least = min(linked or regions, key=lambda region: region.units)
    if not 2 <= parts <= least.units:
        what = "that is how many heads or whole blocks of weights its least divisible layer has"
        raise TooManyParts(parts, least.units, what)
    regions = [region for region in regions if region.units >= parts]
    found = None
    while found is None:
        found = levels(source, {i: n for n, region in enumerate(regions) for i in region.flows})
        if found is None:  # regions that wait for each other: the last one stays whole
            regions.pop()
    return _Rewriting(source, parts, regions, found).divided()


class _Rewriting:
    def __init__(
        self, source: GraphIndex, parts: int, regions: Sequence[Region], level: dict[int, int]
    ) -> None:
        self.source, self.parts, self.regions, self.level = source, parts, regions, level
        roles = [region.role for region in regions]
        self.turns = [roles[:n].count(role) for n, role in enumerate(roles)]
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, TensorProto] = {}
        self.slices: dict[str, WeightSlice] = {}
        self.types: dict[str, Typed] = dict(source.types)
        self.shapes = dict(source.shapes)
        self.names = {name for node in source.nodes for name in (*node.input, *node.output)}
        self.names |= source.weights | set(source.inputs)
        self.given: dict[tuple[object, ...], str] = {}  # what a name was made for → the name
        self.readers: dict[str, set[int]] = defaultdict(set)
        for index in source.live - source.fixed:
            for name in source.uses[index]:
                self.readers[name].add(index)

    def divided(self) -> Divided:
        source = self.source
        self.nodes = [source.nodes[i] for i in sorted(source.fixed)]
        ranges: list[tuple[int, int, Piece]] = []
        inside = {i for region in self.regions for i in region.flows}
        whole: dict[int, list[int]] = defaultdict(list)
        for index in sorted(set(self.level) - inside):
            whole[self.level[index]].append(index)
        split: dict[int, dict[Role, list[int]]] = defaultdict(lambda: defaultdict(list))
        for number, region in enumerate(self.regions):
            level = next(self.level[i] for i in region.flows if i in self.level)
            split[level][region.role].append(number)
        for level in sorted({*whole, *split}):
            start = len(self.nodes)
            self.nodes += [source.nodes[i] for i in whole[level]]
            ranges.append((start, len(self.nodes), Piece((), Role.WHOLE)))
            for role in sorted(split[level]):
                ranges += self._group(f"{role} {level}", role, split[level][role])
        return self._finished(ranges)

    def _group(
        self, group: str, role: Role, numbers: Sequence[int]
    ) -> list[tuple[int, int, Piece]]:
        """All regions of one kind that run at the same time: a step for each part, then the joins."""
        ranges = []
        for part in range(self.parts):
            start = len(self.nodes)
            for number in numbers:
                self._part(number, part)
            ranges.append((start, len(self.nodes), Piece((), role, group, part)))
        for number in numbers:
            for op, axis, name, pieces in self._joins(number):
                if axis is None:
                    self.nodes.append(helper.make_node("Sum", pieces, [name]))
                else:
                    self.nodes.append(helper.make_node("Concat", pieces, [name], axis=axis))
                end = len(self.nodes)
                ranges.append((end - 1, end, Piece((), Role.JOIN, group, join=(op, axis))))
        return ranges

    # --- a part ----------------------------------------------------------------------------------

    def _bounds(self, number: int, part: int, length: int) -> tuple[int, int]:
        """The stretch of something of that length which a part has.

        What is left over after a fair division goes to other parts in each region of a kind.
        """
        units, least = self.regions[number].units, self.regions[number].units // self.parts
        more = units - least * self.parts
        turn = self.turns[number]
        own = [least + ((p - turn) % self.parts < more) for p in range(self.parts)]
        low, high = sum(own[:part]), sum(own[: part + 1])
        return length * low // units, length * high // units

    def _part(self, number: int, part: int) -> None:
        region = self.regions[number]
        for index in sorted(region.flows):
            self._node(number, part, index, region.flows[index])

    def _node(self, number: int, part: int, index: int, flowing: Flow) -> None:
        node = self.source.nodes[index]
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if copy.name:
            copy.name = f"{node.name}.part{part}"
        for position, split in flowing.inputs.items():
            copy.input[position] = self._input(number, part, node, position, split)
        if part:
            for position in flowing.first_only:
                if position < len(copy.input):
                    copy.input[position] = ""
            while copy.input and not copy.input[-1]:
                copy.input.pop()
        for position, name in enumerate(node.output):
            if name and flowing.partial:
                copy.output[position] = self._name(name, number, part)
                self.types[copy.output[position]] = self.source.types[name]
                self.shapes[copy.output[position]] = self.source.shapes.get(name, ())
            elif name:
                split = flowing.outputs.get(position, Split(0))
                copy.output[position] = self._part_of(number, part, name, split)
        if flowing.shape_input:
            self._set_shape(number, part, copy, flowing)
        if flowing.scaled_input is not None:
            self._set_sizes(number, part, index, copy, flowing.scaled_input)
        for item in copy.attribute:
            if item.name in flowing.scaled:
                low, high = self._bounds(number, part, item.i)
                item.i = high - low
        self.nodes.append(copy)

    def _input(
        self, number: int, part: int, node: onnx.NodeProto, position: int, split: Split
    ) -> str:
        """The name of a part of an input; a weight's or a whole tensor's is cut out here."""
        name = node.input[position]
        if name in self.source.dense:
            return self._weight(number, part, node, position, split)
        made = self._part_of(number, part, name, split)
        if name not in self.regions[number].sliced or ("cut", made) in self.given:
            return made
        self.given["cut", made] = made
        size = self.source.shapes[name][split.axis]
        low, high = self._bounds(number, part, size)
        bounds = [self._ints([value]) for value in (low, high, split.axis)]
        self.nodes.append(helper.make_node("Slice", [name, *bounds], [made]))
        return made

    def _part_of(self, number: int, part: int, name: str, split: Split) -> str:
        """The name of a part of an activation, with its type and shape."""
        made = self._name(name, number, part)
        if made not in self.types and name in self.source.types | self.source.inputs:
            typed = self.source.types.get(name)
            spec = self.source.inputs.get(name)
            dtype = typed.dtype if typed else spec.dtype if spec else ""
            shape = typed.shape if typed else spec.shape if spec else None
            self.types[made] = Typed(dtype, self._partial_shape(number, part, shape, split))
        if name in self.source.shapes:
            shape = self._partial_shape(number, part, self.source.shapes[name], split)
            self.shapes[made] = tuple(int(size) for size in shape or ())
        return made

    def _partial_shape(
        self, number: int, part: int, shape: tuple[int | str, ...] | None, split: Split
    ) -> tuple[int | str, ...] | None:
        size = shape[split.axis] if shape and split.axis < len(shape) else None
        if shape is None or not isinstance(size, int) or size % split.outer:
            return shape
        low, high = self._bounds(number, part, size // split.outer)
        return (*shape[: split.axis], split.outer * (high - low), *shape[split.axis + 1 :])

    def _weight(
        self, number: int, part: int, node: onnx.NodeProto, position: int, split: Split
    ) -> str:
        name = node.input[position]
        tensor = self.source.dense[name]
        dims = tuple(tensor.dims)
        bits = packed_bits(node, position, tensor.data_type)
        length = dims[split.axis]
        if bits and self.regions[number].flows and self._along_blocks(node, split):
            found = attributes(node)
            length = split.outer * -(-found["K"] // found["block_size"])
        else:
            bits = None
        low, high = self._bounds(number, part, length // split.outer)
        cut = WeightSlice(name, split.axis, split.outer, low, high, length, bits)
        if ("slice", cut) in self.given:
            return self.given["slice", cut]
        made = self._unique(f"{name}.{split.axis}.{low}-{high}")
        self.given["slice", cut] = made
        self.slices[made] = cut
        self.tensors[made] = TensorProto(name=made, data_type=tensor.data_type, dims=cut.dims(dims))
        self.shapes[made] = cut.dims(dims)
        return made

    @staticmethod
    def _along_blocks(node: onnx.NodeProto, split: Split) -> bool:
        """Whether a row of zero points, one for each block, is split, and not the columns."""
        return split.axis == 1 or split.outer == attributes(node)["N"]

    # --- constants that say sizes ----------------------------------------------------------------

    def _set_shape(self, number: int, part: int, copy: onnx.NodeProto, flowing: Flow) -> None:
        assert flowing.shape_input is not None
        position, axis, repeats = flowing.shape_input
        output = copy.output[0]
        rank = len(self.shapes[output])
        size = 1 if repeats and 0 in flowing.inputs else self.shapes[output][axis]
        known = self.source.constant(copy.input[position])
        if known is not None:
            copy.input[position] = self._ints([*known[:axis], size, *known[axis + 1 :]])
            return
        flags, sizes = np.zeros(rank, np.bool_), np.zeros(rank, np.int64)
        flags[axis], sizes[axis] = True, size
        made = self._unique(f"{output}.shape")
        given = [self._constant(flags), self._constant(sizes), copy.input[position]]
        self.nodes.append(helper.make_node("Where", given, [made]))
        copy.input[position] = made
        self.types[made] = Typed("int64", (rank,))
        self.shapes[made] = (rank,)

    def _set_sizes(
        self, number: int, part: int, index: int, copy: onnx.NodeProto, position: int
    ) -> None:
        """A Split's sizes, which are equal."""
        node, flowing = self.source.nodes[index], self.regions[number].flows[index]
        length = self.source.shapes[node.output[0]][flowing.outputs[0].axis]
        low, high = self._bounds(number, part, length)
        copy.input[position] = self._ints([high - low] * len(node.output))

    def _ints(self, values: Sequence[int]) -> str:
        return self._constant(np.array(values, np.int64))

    def _constant(self, array: np.ndarray) -> str:
        key = ("constant", array.dtype.name, array.shape, array.tobytes())
        if key not in self.given:
            name = self._unique(f"constant.{len(self.given)}")
            self.given[key] = name
            self.tensors[name] = numpy_helper.from_array(array, name)
        return self.given[key]

    # --- joins -----------------------------------------------------------------------------------

    def _joins(self, number: int) -> list[tuple[str, int | None, str, list[str]]]:
        """Op, axis, whole and parts of everything that others take from a region."""
        region = self.regions[number]
        joins: list[tuple[str, int | None, str, list[str]]] = []
        for index in sorted(set(region.flows) - self.source.fixed):
            flowing = region.flows[index]
            for position, name in enumerate(self.source.nodes[index].output):
                wanted = name in self.source.graph_outputs or self.readers[name] - set(region.flows)
                if not name or not wanted:
                    continue
                pieces = [self._name(name, number, part) for part in range(self.parts)]
                if flowing.partial:
                    joins.append(("sum", None, name, pieces))
                elif position in flowing.outputs:
                    joins.append(("concat", flowing.outputs[position].axis, name, pieces))
        return joins

    # --- names -----------------------------------------------------------------------------------

    def _name(self, name: str, number: int, part: int) -> str:
        key = ("part", name, number, part)
        if key not in self.given:
            self.given[key] = self._unique(f"{name}.part{part}")
        return self.given[key]

    def _unique(self, name: str) -> str:
        while name in self.names:
            name += "'"
        self.names.add(name)
        return name

    # --- the whole -------------------------------------------------------------------------------

    def _finished(self, ranges: Sequence[tuple[int, int, Piece]]) -> Divided:
        source = self.source
        model = onnx.ModelProto()
        model.ir_version = source.model.ir_version
        model.producer_name = source.model.producer_name
        model.producer_version = source.model.producer_version
        model.opset_import.extend(source.model.opset_import)
        model.functions.extend(source.model.functions)
        model.metadata_props.extend(source.model.metadata_props)
        model.graph.name = source.model.graph.name
        model.graph.node.extend(self.nodes)
        model.graph.input.extend(source.model.graph.input)
        model.graph.output.extend(source.model.graph.output)
        for name, tensor in source.dense.items():
            outline = TensorProto(name=name, data_type=tensor.data_type, dims=tensor.dims)
            string = tensor.data_type == TensorProto.STRING
            model.graph.initializer.append(tensor if string else outline)
        model.graph.initializer.extend(self.tensors.values())
        model.graph.sparse_initializer.extend(source.model.graph.sparse_initializer)
        graph = GraphIndex(model)
        graph.types, graph.shapes = self.types, self.shapes
        graph.inputs, graph.outputs = source.inputs, source.outputs
        counted = graph.live - graph.fixed
        pieces = []
        for start, end, piece in ranges:
            nodes = tuple(i for i in range(start, end) if i in counted)
            if nodes:
                pieces.append(dataclasses.replace(piece, nodes=nodes))
        return Divided(graph, pieces, source, self.slices)
