"""Each node's share of a model: its arithmetic for the most part, and its weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference.documents import Array
from inference.graph.costs import work
from inference.graph.indexed import GraphIndex

_WORK_SHARE = 0.75  # of a node's cost; the rest are its weights, which fill a browser's memory


def operations(graph: GraphIndex, order: Sequence[int]) -> Array:
    """Estimated floating-point operations of each node of an order, at example sizes."""
    return np.array([work(graph.nodes[i], graph.shapes) for i in order], dtype=np.float64)


def shares(graph: GraphIndex, order: Sequence[int]) -> Array:
    """Each ordered node's share of work and weights; a weight counts where it is used first."""
    weights = np.zeros(len(order))
    seen: set[str] = set()
    for position, index in enumerate(order):
        sizes = carried(graph, index)
        weights[position] = sum(size for key, size in sizes.items() if key not in seen)
        seen.update(sizes)
    return _WORK_SHARE * _share(operations(graph, order)) + (1 - _WORK_SHARE) * _share(weights)


def carried(graph: GraphIndex, index: int) -> dict[str, int]:
    """Bytes of the weights and constants that a shard with this node holds because of it, by name."""
    nodes = [index, *sorted(graph.fixed_for(index))]
    names = sorted({n for i in nodes for n in graph.uses[i] if n in graph.weights})
    return graph.weight_bytes(names, nodes)


def _share(values: Array) -> Array:
    total = values.sum()
    return values / total if total else np.full(len(values), 1 / max(len(values), 1))
