"""Rewrite a graph so that each region is there once for every part, with a join behind it.

The rewritten graph computes the same as the original: parts take slices of the weights, a Concat or Sum
puts together what others want whole. Steps are then made of its nodes as of any graph's. No weight is
copied for it: `Divided.weight` takes the slices when a file is written.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from inference.graph.cutting.assemble import Piece
from inference.graph.indexed import GraphIndex
from inference.graph.splitting.attempt import Region
from inference.graph.splitting.levels import levels
from inference.graph.splitting.parts import PartWriter
from inference.graph.splitting.regions import find_regions, most_parts
from inference.graph.splitting.slices import WeightSlice
from inference.graph.steps import Role


class TooManyParts(ValueError):
    """A layer's matrices cannot be split that often; `maximum` says how often."""

    def __init__(self, asked: int, maximum: int, what: str) -> None:
        self.asked, self.maximum = asked, maximum
        super().__init__(
            f"{asked} parts were asked for; expected at least 2 and at most {maximum}: {what}"
        )


class NothingToSplit(ValueError):
    """The graph has nothing that could be split, or none of it can travel; says what was looked for."""


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
    maximum = most_parts(regions)
    if not 2 <= parts <= maximum:
        what = "that is how many heads or whole blocks of weights its least divisible layer has"
        raise TooManyParts(parts, maximum, what)
    regions = [region for region in regions if region.units >= parts]
    found = levels(source, _members(regions))
    while found is None:  # regions wait for each other: the last one stays whole
        regions.pop()
        found = levels(source, _members(regions))
    return _Rewriting(source, parts, regions, found).divided()


def _members(regions: Sequence[Region]) -> dict[int, int]:
    """Node → the region it is in."""
    return {i: number for number, region in enumerate(regions) for i in region.flows}


class _Rewriting:
    """The rewritten graph, level by level."""

    def __init__(
        self, source: GraphIndex, parts: int, regions: Sequence[Region], level: dict[int, int]
    ) -> None:
        self.source, self.parts, self.regions, self.level = source, parts, regions, level
        self.made = PartWriter(source, parts, regions)
        self.readers: dict[str, set[int]] = defaultdict(set)
        for index in source.live - source.fixed:
            for name in source.uses[index]:
                self.readers[name].add(index)

    def divided(self) -> Divided:
        source = self.source
        nodes = self.made.nodes
        nodes += [source.nodes[i] for i in sorted(source.fixed)]
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
            start = len(self.made.nodes)
            self.made.nodes += [source.nodes[i] for i in whole[level]]
            ranges.append((start, len(self.made.nodes), Piece((), Role.WHOLE)))
            for role in sorted(split[level]):
                ranges += self._group(f"{role} {level}", role, split[level][role])
        return self._finished(ranges)

    def _group(
        self, group: str, role: Role, numbers: Sequence[int]
    ) -> list[tuple[int, int, Piece]]:
        """All regions of one kind that run at the same time: a step for each part, then the joins."""
        ranges = []
        for part in range(self.parts):
            start = len(self.made.nodes)
            for number in numbers:
                self.made.write(number, part)
            ranges.append((start, len(self.made.nodes), Piece((), role, group, part)))
        for number in numbers:
            for op, axis, name, pieces in self._joins(number):
                if axis is None:
                    self.made.nodes.append(helper.make_node("Sum", pieces, [name]))
                else:
                    self.made.nodes.append(helper.make_node("Concat", pieces, [name], axis=axis))
                end = len(self.made.nodes)
                ranges.append((end - 1, end, Piece((), Role.JOIN, group, join=(op, axis))))
        return ranges

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
                pieces = [self.made.name(name, number, part) for part in range(self.parts)]
                if flowing.partial:
                    joins.append(("sum", None, name, pieces))
                elif position in flowing.outputs:
                    joins.append(("concat", flowing.outputs[position].axis, name, pieces))
        return joins

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
        model.graph.node.extend(self.made.nodes)
        model.graph.input.extend(source.model.graph.input)
        model.graph.output.extend(source.model.graph.output)
        for name, tensor in source.dense.items():
            outline = TensorProto(name=name, data_type=tensor.data_type, dims=tensor.dims)
            string = tensor.data_type == TensorProto.STRING
            model.graph.initializer.append(tensor if string else outline)
        model.graph.initializer.extend(self.made.tensors.values())
        model.graph.sparse_initializer.extend(source.model.graph.sparse_initializer)
        graph = GraphIndex(model)
        graph.types, graph.shapes = self.made.types, self.made.shapes
        graph.inputs, graph.outputs = source.inputs, source.outputs
        counted = graph.live - graph.fixed
        pieces = []
        for start, end, piece in ranges:
            nodes = tuple(i for i in range(start, end) if i in counted)
            if nodes:
                pieces.append(dataclasses.replace(piece, nodes=nodes))
        _check_crossing(graph, pieces)
        return Divided(graph, pieces, source, self.made.slices)


def _check_crossing(graph: GraphIndex, pieces: Sequence[Piece]) -> None:
    """Refuse pieces that would pass on what cannot travel."""
    piece_of = {i: at for at, piece in enumerate(pieces) for i in piece.nodes}
    for index, at in piece_of.items():
        for name in graph.uses[index]:
            maker = piece_of.get(graph.producer.get(name, -1), at)
            if maker != at and name not in graph.types and name not in graph.outputs:
                raise NothingToSplit(
                    f"{name!r} would have to travel between steps, but it is a sequence or of a type "
                    "that is not known; expected tensors between what is split"
                )
