"""Where a graph may be cut: an order of its nodes, and the boundaries in it that are legal.

1. What depends on weights and constants alone is no activation and has no place in the order. The other
   nodes are put in a topological order: the file's own, or depth first from the outputs, whichever lets
   fewer bytes cross. A Shape follows its tensor at once, so that the shape crosses, not the tensor.
2. A boundary lies between two nodes. It is legal when all that crosses are tensors of known type, and both
   sides compute something.
   An element-wise node stays with what it follows: the cut behind it lets no more bytes cross, and the
   runtime fuses the two, with other roundings than one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from inference.documents import Array
from inference.graph.costs import CONTROL, FOLLOWERS, HEAVY, MOVERS
from inference.graph.cutting.order import Lifetimes, depth_first, lifetimes, shapes_first
from inference.graph.indexed import GraphIndex

_BYTES_PER_TENSOR = 2048  # each tensor that crosses costs as much as these on top of its bytes
_UNCUTTABLE = 2**40  # bytes that a tensor which must not cross counts for when orders are compared


def orders(graph: GraphIndex) -> list[list[int]]:
    """Topological orders of the live nodes that are not fixed: the file's own, and depth first."""
    moving = sorted(graph.live - graph.fixed)
    deep = depth_first(graph.nodes, graph.uses, graph.producer, graph.graph_outputs, graph.fixed)
    return [shapes_first(order, graph.nodes, graph.producer) for order in (moving, deep)]


def best_order(graph: GraphIndex) -> list[int]:
    """The one that lets fewer bytes cross."""
    found = orders(graph)
    totals = [_carried(graph, order) for order in found]
    return found[totals.index(min(totals))]


def _carried(graph: GraphIndex, order: Sequence[int]) -> int:
    """Bytes that cross, summed over all boundaries of an order."""
    alive = lifetimes(order, graph.uses, graph.producer)
    spans = (alive.last - alive.first + 1).tolist()
    return sum(
        span * (graph.bytes_of(name) if name in graph.types else _UNCUTTABLE)
        for name, span in zip(alive.names, spans, strict=True)
    )


class Boundaries:
    """The boundaries of an order, numbered by how many ordered nodes lie before them."""

    def __init__(self, graph: GraphIndex, order: Sequence[int]) -> None:
        self.graph, self.order = graph, list(order)

    # --- what crosses ----------------------------------------------------------------------------

    @cached_property
    def _alive(self) -> Lifetimes:
        return lifetimes(self.order, self.graph.uses, self.graph.producer)

    def crossing(self, boundary: int) -> list[str]:
        """Names of the tensors that cross, sorted."""
        return self._alive.crossing(boundary)

    def _totals(self, values: Sequence[int]) -> list[int]:
        """For each boundary 0 … n the sum of what crosses it; a value for each tensor."""
        totals: list[int] = self._alive.totals(values, len(self.order) + 1).tolist()
        return totals

    @cached_property
    def counts(self) -> list[int]:
        """How many tensors cross each boundary."""
        return self._totals([1] * len(self._alive.names))

    @cached_property
    def bytes(self) -> list[int]:
        """How many bytes cross each boundary, at example sizes."""
        return self._totals([self.graph.bytes_of(name) for name in self._alive.names])

    @cached_property
    def _unknown(self) -> list[int]:
        return self._totals([name not in self.graph.types for name in self._alive.names])

    def weight(self, boundary: int) -> int:
        """What crossing costs: bytes, and something for each tensor."""
        return self.bytes[boundary] + _BYTES_PER_TENSOR * self.counts[boundary]

    # --- legal ones ------------------------------------------------------------------------------

    @cached_property
    def _computing(self) -> tuple[list[bool], bool]:
        """Which ordered nodes are worth a shard, and whether those are the ones with weights.

        In a graph with fewer than two nodes that compute with weights, all that compute are worth one.
        """
        kinds = [self.graph.nodes[i] for i in self.order]
        computing = [node.op_type not in MOVERS for node in kinds]
        weighty = [
            node.op_type in HEAVY | CONTROL or (computes and self.graph.has_weights(i))
            for node, computes, i in zip(kinds, computing, self.order, strict=True)
        ]
        return (weighty, True) if sum(weighty) > 1 else (computing, False)

    @cached_property
    def _worth(self) -> Array:
        """How many nodes that are worth a shard lie before each boundary 0 … n."""
        return np.concatenate([[0], np.cumsum(self._computing[0], dtype=np.int64)])

    @cached_property
    def _joined(self) -> frozenset[int]:
        """Boundaries between an element-wise node and the last node it follows, if only it does."""
        if not self._computing[1]:
            return frozenset()
        graph = self.graph
        at = {index: position for position, index in enumerate(self.order)}
        readers: dict[str, int] = defaultdict(int)
        for index in self.order:
            for name in graph.uses[index]:
                readers[name] += 1
        joined: set[int] = set()
        for position, index in enumerate(self.order):
            if graph.nodes[index].op_type not in FOLLOWERS:
                continue
            before = [(at[p], n) for n in graph.uses[index] if (p := graph.producer.get(n)) in at]
            if before:
                last, name = max(before)
                own = sum(map(graph.bytes_of, graph.nodes[index].output))
                grows = own > graph.bytes_of(name) > 0
                if readers[name] == 1 and name not in graph.graph_outputs and not grows:
                    joined.update(range(last + 1, position + 1))
        return frozenset(joined)

    def possible(self, boundary: int) -> bool:
        """Whether all that crosses may travel, and no node is parted from one it is fused with."""
        return boundary not in self._joined and not self._unknown[boundary]

    @cached_property
    def legal(self) -> list[int]:
        """Boundaries at which the graph may be cut.

        Between two nodes that are worth a shard there may be several: the one that fewest bytes cross.
        """
        best: dict[int, int] = {}
        for boundary in range(1, len(self.order)):
            worth = int(self._worth[boundary])
            if not 0 < worth < self._worth[-1] or not self.possible(boundary):
                continue
            other = best.setdefault(worth, boundary)
            if self.weight(boundary) < self.weight(other):
                best[worth] = boundary
        return [best[worth] for worth in sorted(best)]

    @cached_property
    def untravelled(self) -> list[str]:
        """What may not travel and lies everywhere between some two nodes worth a shard; names, sorted."""
        cut = {int(self._worth[boundary]) for boundary in self.legal}
        found: set[str] = set()
        for boundary in range(1, len(self.order)):
            worth = int(self._worth[boundary])
            if 0 < worth < self._worth[-1] and worth not in cut and self._unknown[boundary]:
                found.update(n for n in self.crossing(boundary) if n not in self.graph.types)
        return sorted(found)
