"""Cut any ONNX graph into layer shards, from its own structure: nothing is read from names.

1. `boundaries` puts the nodes in an order and finds the legal cuts of it.
2. Of those the ones are taken that balance the shards' cost and let few bytes cross.
3. `assemble` makes shards of the stretches between them, `write` makes files of those.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from inference.documents import Array, JsonObject
from inference.graph.costs import HEAVY
from inference.graph.cutting.assemble import Piece, assemble
from inference.graph.cutting.boundaries import Boundaries, best_order
from inference.graph.cutting.choose import Cuts, choose
from inference.graph.cutting.repeats import repetitions
from inference.graph.cutting.shares import carried, operations, shares
from inference.graph.indexed import GraphIndex
from inference.graph.model import load, normalise
from inference.graph.steps import Step, TooManyShards

# How crossing bytes weigh against balance. Carrying a byte from page to page takes about as long as 200
# floating-point operations there. Where a model computes next to nothing, a cut's bytes are compared with
# the other cuts' instead.
_OPERATIONS_PER_BYTE = 200.0
_TYPICAL_CUTS = 4.0
_SHOWN_TENSORS = 32


def plan_layers(path: Path, shards: int) -> list[Step]:
    """The plan for a model file; same file and number, same plan.

    Raises:
        InvalidModel: the file cannot be read.
        TooManyShards: names the maximum.
    """
    return plan_graph(load(path), shards)


def plan_graph(model: onnx.ModelProto, shards: int) -> list[Step]:
    """The same for a graph in memory, whose weights need not be there: their types and shapes count.

    Its nodes are put in order and its dimensions named in place, as `load` does.

    Raises:
        TooManyShards: names the maximum.
    """
    normalise(model)
    return Cutter(model).plan(shards)


class Cutter:
    """A graph, with its legal cuts."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = GraphIndex(model)
        self.boundaries = Boundaries(self.graph, best_order(self.graph))

    @property
    def max_shards(self) -> int:
        return len(self.boundaries.legal) + 1

    @cached_property
    def costs(self) -> Array:
        """Each ordered node's share of the model."""
        return shares(self.graph, self.boundaries.order)

    def describe_cuts(self) -> Iterator[JsonObject]:
        """Every legal cut, for people and for the database; of many tensors the first are named."""
        before = np.cumsum(self.costs)
        for boundary in self.boundaries.legal:
            yield {
                "after_nodes": boundary,
                "cost_before": round(float(before[boundary - 1]), 4),
                "tensors": self.boundaries.crossing(boundary)[:_SHOWN_TENSORS],
                "tensor_count": self.boundaries.counts[boundary],
                "bytes": self.boundaries.bytes[boundary],
            }

    @property
    def layers(self) -> int:
        """How often the pattern of heavy operators and their sizes repeats; 1 where nothing does."""
        nodes = [self.graph.nodes[i] for i in self.boundaries.order]
        return repetitions(
            [
                (node.op_type, *(self.graph.shapes.get(name) for name in node.input[1:2]))
                for node in nodes
                if node.op_type in HEAVY
            ]
        )

    def plan(self, shards: int) -> list[Step]:
        """Shards in order.

        Raises:
            TooManyShards: more than the graph allows, or none.
        """
        if not 1 <= shards <= self.max_shards:
            raise TooManyShards(shards, self.max_shards, self._hindrance())
        return self.plan_at(self._choose(shards))

    def _hindrance(self) -> str:
        """What keeps it from more shards, where that is what cannot be passed on; else empty."""
        across = self.boundaries.untravelled
        if not across:
            return ""
        more = f" and {len(across) - 1} more" if len(across) > 1 else ""
        return (
            f"{across[0]!r}{more} would be passed on elsewhere, and browsers pass on only tensors of known "
            "types, neither bfloat16 nor 4-bit integers"
        )

    def plan_at(self, cuts: Sequence[int]) -> list[Step]:
        """Shards in order, cut at these boundaries, which must be legal."""
        order = self.boundaries.order
        bounds = [0, *cuts, len(order)]
        return assemble(
            self.graph,
            [Piece(tuple(order[start:end])) for start, end in itertools.pairwise(bounds)],
        )

    def carried(self) -> list[dict[str, int]]:
        """For each ordered node the weights and constants that a shard with it holds: name → bytes."""
        return [carried(self.graph, index) for index in self.boundaries.order]

    def _choose(self, shards: int) -> list[int]:
        """The cuts that minimise imbalance plus crossing bytes.

        A cut weighs its bytes over those that would take as long as a shard's share of the work.
        """
        if shards == 1:
            return []
        legal = self.boundaries.legal
        weights = np.array([self.boundaries.weight(b) for b in legal], dtype=np.float64)
        total = operations(self.graph, self.boundaries.order).sum()
        affordable = total / _OPERATIONS_PER_BYTE / shards
        penalty = weights / max(affordable, _TYPICAL_CUTS * float(np.median(weights)), 1.0)
        ends = np.cumsum(self.costs)[np.array(legal) - 1]
        return [legal[i] for i in choose(Cuts(ends, penalty), shards)]
