"""Find the regions of a graph that several browsers can compute in parts.

1. Each product with weights, in order, is tried as the end of a region: split by rows, it takes parts of
   its input and makes summands of its output.
2. From its input one goes backward, handing the split from output to inputs, until products with weights
   are reached that can make parts by columns (`attempt`).
3. A region is taken if something in it was split by columns, nothing outside lies between its nodes, and
   its runs have at least two units in common (heads, groups of heads, blocks of quantised weights).
4. Large products and look-up tables that are left are regions by themselves: split by columns.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from inference.graph.cutting.products import weight_products
from inference.graph.indexed import GraphIndex
from inference.graph.splitting.attempt import Attempt, Region, Surroundings
from inference.graph.splitting.splits import Shapes
from inference.graph.steps import Role
from inference.graph.types import example_shapes

# Two sets of sizes for dynamic dimensions: what differs between them is dynamic.
_SIZES = ((1009, 2003), (1013, 2011))
_LARGE = 0.5  # a matrix is split by itself if it has this share of the mean matrix's elements


def find_regions(graph: GraphIndex) -> list[Region]:
    """Disjoint regions: those of several nodes in the order of their ends, then single nodes."""
    return _Search(graph, Shapes(*(_all_shapes(graph, *sizes) for sizes in _SIZES))).regions()


def most_parts(regions: Sequence[Region]) -> int:
    """How many parts they can all have; products that stand alone count only where there are no others."""
    linked = [region.units for region in regions if region.role != Role.COLUMNS]
    return min(linked or (region.units for region in regions), default=1)


def _all_shapes(graph: GraphIndex, first: int, other: int) -> dict[str, tuple[int, ...]]:
    found = example_shapes(graph.model, first=first, other=other)
    return found | {name: tuple(tensor.dims) for name, tensor in graph.dense.items()}


class _Search:
    def __init__(self, graph: GraphIndex, shapes: Shapes) -> None:
        readers: dict[str, list[int]] = defaultdict(list)
        for index in sorted(graph.live - graph.fixed):
            for name in graph.uses[index]:
                readers[name].append(index)
        self.graph, self.shapes, self.taken = graph, shapes, set[int]()
        self.around = Surroundings(graph, shapes, readers, self.taken)

    def regions(self) -> list[Region]:
        products = weight_products(self.graph)
        found: list[Region] = []
        for index in sorted(products):
            if index not in self.taken:
                self._take(found, Attempt(self.around).ending_in(index))
        moving = self.graph.live - self.graph.fixed
        tables = {i for i in moving if self.graph.nodes[i].op_type == "Gather"}
        sizes = [self._matrix_elements(i) for i in products]
        least = _LARGE * sum(sizes) / max(len(sizes), 1)
        for index in sorted((products | tables) - self.taken):
            if self._matrix_elements(index) >= least:
                self._take(found, Attempt(self.around).alone(index))
        return found

    def _take(self, found: list[Region], region: Region | None) -> None:
        if region is not None:
            found.append(region)
            self.taken |= set(region.flows) - self.graph.fixed

    def _matrix_elements(self, index: int) -> int:
        names = [n for n in self.graph.uses[index] if self.graph.is_fixed(n)]
        return sum(math.prod(self.shapes.of(name) or ()) for name in names)
