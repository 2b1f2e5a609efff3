"""Topological orders of a graph's activations, and what crosses the boundaries of an order.

Everywhere: `uses[i]` are the names node i takes, `producer` says which node makes a name.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set

import numpy as np
import onnx

from inference.documents import Array

Uses = Sequence[Sequence[str]]
Producer = Mapping[str, int]


def depth_first(
    nodes: Sequence[onnx.NodeProto],
    uses: Uses,
    producer: Producer,
    outputs: Sequence[str],
    without: Set[int],
) -> list[int]:
    """Each node as late as the one that needs it, from the first output to the last."""

    def needs(index: int) -> list[int]:
        """The nodes it depends on, those of its first input first."""
        names = dict.fromkeys((*nodes[index].input, *uses[index]))
        found = dict.fromkeys(producer[name] for name in names if name in producer)
        return [i for i in found if i not in without]

    done: set[int] = set()
    order: list[int] = []
    for output in outputs:
        if output not in producer or producer[output] in done or producer[output] in without:
            continue
        stack = [(producer[output], iter(needs(producer[output])))]
        while stack:
            at, waiting = stack[-1]
            missing = next((i for i in waiting if i not in done), None)
            if missing is not None:
                stack.append((missing, iter(needs(missing))))
                continue
            stack.pop()
            done.add(at)
            order.append(at)
    return order


def shapes_first(
    order: Sequence[int], nodes: Sequence[onnx.NodeProto], producer: Producer
) -> list[int]:
    """The order with Shape and Size right behind the node whose output they read."""
    reading = defaultdict(list)
    for index in order:
        node = nodes[index]
        if node.op_type in ("Shape", "Size") and node.input[0] in producer:
            reading[producer[node.input[0]]].append(index)
    moved = {index for indices in reading.values() for index in indices}
    result: list[int] = []
    for index in order:
        if index not in moved:
            result += [index, *reading[index]]
    return result


@dataclasses.dataclass(frozen=True)
class Lifetimes:
    """The tensors that cross boundaries of an order, sorted by name.

    Boundary b lies behind the first b nodes. A tensor crosses every one from `first` to `last`.
    """

    names: tuple[str, ...]
    first: Array
    last: Array

    def crossing(self, boundary: int) -> list[str]:
        """Names of the tensors made before a boundary and used after it, sorted."""
        found = np.flatnonzero((self.first <= boundary) & (self.last >= boundary))
        return [self.names[i] for i in found]

    def totals(self, values: Sequence[int], boundaries: int) -> Array:
        """For each boundary 0 … boundaries - 1 the sum of the values of what crosses it, int64."""
        steps = np.zeros(boundaries + 1, dtype=np.int64)
        np.add.at(steps, self.first, values)
        np.subtract.at(steps, self.last + 1, values)
        totals: Array = np.cumsum(steps)[:boundaries]
        return totals


def lifetimes(order: Sequence[int], uses: Uses, producer: Producer) -> Lifetimes:
    """Which boundaries each tensor crosses that one node of the order makes for another."""
    at = {index: position for position, index in enumerate(order)}
    last = {name: position for position, index in enumerate(order) for name in uses[index]}
    names = sorted(name for name in last if producer.get(name) in at)
    return Lifetimes(
        tuple(names),
        np.array([at[producer[name]] + 1 for name in names], dtype=np.int64),
        np.array([last[name] for name in names], dtype=np.int64),
    )
