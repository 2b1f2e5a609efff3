"""Write one part of a region: its nodes with slices of the weights, and whatever in them says a size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from inference.graph.indexed import GraphIndex
from inference.graph.splitting.attempt import Region
from inference.graph.splitting.matrices import packed_bits
from inference.graph.splitting.slices import WeightSlice
from inference.graph.splitting.splits import Flow, Split
from inference.graph.standins import attributes
from inference.graph.types import Typed


class PartWriter:
    """Collects the nodes of parts, with the weights, types and example shapes that they have.

    Attributes:
        nodes: the nodes so far, in an order in which they can be computed.
        tensors: new weights: constants, and slices without their bytes.
        slices: which elements of which weight a slice is.
    """

    def __init__(self, source: GraphIndex, parts: int, regions: Sequence[Region]) -> None:
        self.source, self.parts, self.regions = source, parts, regions
        roles = [region.role for region in regions]
        self._turns = [roles[:n].count(role) for n, role in enumerate(roles)]
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, TensorProto] = {}
        self.slices: dict[str, WeightSlice] = {}
        self.types: dict[str, Typed] = dict(source.types)
        self.shapes = dict(source.shapes)
        self._names = {name for node in source.nodes for name in (*node.input, *node.output)}
        self._names |= source.weights | set(source.inputs)
        self._given: dict[tuple[object, ...], str] = {}  # what a name was made for → the name

    def write(self, number: int, part: int) -> None:
        """Add the nodes of one part of a region."""
        region = self.regions[number]
        for index in sorted(region.flows):
            self._node(number, part, index, region.flows[index])

    def name(self, name: str, number: int, part: int) -> str:
        key = ("part", name, number, part)
        if key not in self._given:
            self._given[key] = self._unique(f"{name}.part{part}")
        return self._given[key]

    def _unique(self, name: str) -> str:
        while name in self._names:
            name += "'"
        self._names.add(name)
        return name

    def _bounds(self, number: int, part: int, length: int) -> tuple[int, int]:
        """The stretch of something of that length which a part has.

        What is left over after a fair division goes to other parts in each region of a kind.
        """
        units, least = self.regions[number].units, self.regions[number].units // self.parts
        more = units - least * self.parts
        turn = self._turns[number]
        own = [least + ((p - turn) % self.parts < more) for p in range(self.parts)]
        low, high = sum(own[:part]), sum(own[: part + 1])
        return length * low // units, length * high // units

    def _node(self, number: int, part: int, index: int, flowing: Flow) -> None:
        node = self.source.nodes[index]
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if copy.name:
            copy.name = f"{node.name}.part{part}"
        self._set_inputs(number, part, copy, flowing)
        for position, name in enumerate(node.output):
            if name and position in flowing.outputs:
                made = self._part_of(number, part, name, flowing.outputs[position])
                copy.output[position] = made
            elif name:
                copy.output[position] = self._like(number, part, name)
        if flowing.shape_input:
            self._set_shape(copy, flowing)
        if flowing.scaled_input is not None:
            self._set_sizes(number, part, index, copy, flowing.scaled_input)
        for item in copy.attribute:
            if item.name in flowing.scaled:
                low, high = self._bounds(number, part, item.i)
                item.i = high - low
        self.nodes.append(copy)

    def _set_inputs(self, number: int, part: int, copy: onnx.NodeProto, flowing: Flow) -> None:
        repeated = self.regions[number].repeated
        for position, name in enumerate(copy.input):
            if position in flowing.inputs:
                split = flowing.inputs[position]
                copy.input[position] = self._input(number, part, copy, position, split)
            elif name in repeated:
                copy.input[position] = self.name(name, number, part)
        if part:
            for position in flowing.first_only:
                if position < len(copy.input):
                    copy.input[position] = ""
            while copy.input and not copy.input[-1]:
                copy.input.pop()

    def _like(self, number: int, part: int, name: str) -> str:
        """The name of what is as large in a part as whole: a summand, integers that each part computes."""
        made = self.name(name, number, part)
        if name in self.source.types:
            self.types[made] = self.source.types[name]
        if name in self.source.shapes:
            self.shapes[made] = self.source.shapes[name]
        return made

    def _input(
        self, number: int, part: int, node: onnx.NodeProto, position: int, split: Split
    ) -> str:
        """The name of a part of an input; a weight's or a whole tensor's is cut out here."""
        name = node.input[position]
        if name in self.source.dense:
            return self._weight(number, part, node, position, split)
        made = self._part_of(number, part, name, split)
        if name not in self.regions[number].sliced or ("cut", made) in self._given:
            return made
        self._given["cut", made] = made
        size = self.source.shapes[name][split.axis]
        low, high = self._bounds(number, part, size)
        bounds = [self._ints([value]) for value in (low, high, split.axis)]
        self.nodes.append(helper.make_node("Slice", [name, *bounds], [made]))
        return made

    def _part_of(self, number: int, part: int, name: str, split: Split) -> str:
        """The name of a part of an activation, with its type and shape."""
        made = self.name(name, number, part)
        known = self.source.types.get(name) or self.source.inputs.get(name)
        if made not in self.types and known is not None:
            shape = self._partial_shape(number, part, known.shape, split)
            self.types[made] = Typed(known.dtype, shape)
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
        if bits and self._along_blocks(node, split):
            found = attributes(node)
            length = split.outer * -(-found["K"] // found["block_size"])
        else:
            bits = None
        low, high = self._bounds(number, part, length // split.outer)
        cut = WeightSlice(name, split.axis, split.outer, low, high, length, bits)
        if ("slice", cut) in self._given:
            return self._given["slice", cut]
        made = self._unique(f"{name}.{split.axis}.{low}-{high}")
        self._given["slice", cut] = made
        self.slices[made] = cut
        self.tensors[made] = TensorProto(name=made, data_type=tensor.data_type, dims=cut.dims(dims))
        self.shapes[made] = cut.dims(dims)
        return made

    @staticmethod
    def _along_blocks(node: onnx.NodeProto, split: Split) -> bool:
        """Whether a row of zero points, one for each block, is split, and not the columns."""
        return split.axis == 1 or split.outer == attributes(node)["N"]

    # --- constants that say sizes ----------------------------------------------------------------

    def _set_shape(self, copy: onnx.NodeProto, flowing: Flow) -> None:
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
        if key not in self._given:
            name = self._unique(f"constant.{len(self._given)}")
            self._given[key] = name
            self.tensors[name] = numpy_helper.from_array(array, name)
        return self._given[key]
