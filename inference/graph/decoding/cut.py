"""Cut a decoder at its layers: each stage holds the states of its own, and only hidden tensors cross.

1. Nodes that every stage computes for itself (`known`) have no place in the order; the others do.
2. A layer is the stretch of the order in which its states are used and made. Between two layers the cut is
   where fewest bytes cross, and no node is parted from one that it is fused with.
3. Of the layers' cuts those are taken that balance the stages.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import onnx

from inference.core.generation.stages import State
from inference.graph.cutting.boundaries import Boundaries, orders
from inference.graph.cutting.choose import Cuts, choose
from inference.graph.cutting.shares import shares
from inference.graph.decoding.known import KnownParts
from inference.graph.decoding.states import Found, NoDecoder
from inference.graph.indexed import GraphIndex
from inference.graph.steps import TooManyShards

_NUMBER = re.compile(r"\d+")


@dataclasses.dataclass(frozen=True)
class Stretch:
    """A stage before it is written.

    Attributes:
        nodes: those of the order that are its own.
        taken: hidden tensors of the stage before.
        given: hidden tensors for the next.
        cost: share of the model's work and weights.
    """

    nodes: tuple[int, ...]
    states: tuple[State, ...]
    taken: tuple[str, ...]
    given: tuple[str, ...]
    cost: float


class DecoderCutter:
    """A decoder, with its layers.

    Raises:
        NoDecoder: its layers do not follow one another.
    """

    def __init__(self, model: onnx.ModelProto, found: Found) -> None:
        self.graph, self.found = GraphIndex(model), found
        self.known = KnownParts(self.graph, found.whole)
        own = [[i for i in order if i not in self.known.nodes] for order in orders(self.graph)]
        cutters = [_Order(self.graph, self.known, order, found.whole.states) for order in own]
        self._order = min(cutters, key=lambda one: (-len(one.cuts), one.crossing_bytes))

    @property
    def layers(self) -> int:
        """How many layers have states."""
        return len(self._order.layers)

    @property
    def max_stages(self) -> int:
        return len(self._order.cuts) + 1

    def stretches(self, stages: int) -> list[Stretch]:
        """So many stages, in order.

        Raises:
            TooManyShards: more than there are layers to cut at, or none.
            NoDecoder: a tensor is needed by more than the next stage.
        """
        if not 1 <= stages <= self.max_stages:
            raise TooManyShards(stages, self.max_stages)
        return self._order.stretches(stages)


class _Order:
    """One order of the nodes, the layers in it, and where it may be cut."""

    def __init__(
        self,
        graph: GraphIndex,
        known: KnownParts,
        order: Sequence[int],
        states: Sequence[State],
    ) -> None:
        self.graph, self.known, self.order = graph, known, order
        self.boundaries = Boundaries(graph, order)
        self.layers = _layers(states)
        self._users = {name: self._ends(name) for state in states for name in _names(state)}

    def _ends(self, name: str) -> tuple[int, int]:
        """The first and the last node of the order that uses or makes a tensor."""
        touching = [
            at
            for at, index in enumerate(self.order)
            if name in self.graph.uses[index] or name in self.graph.nodes[index].output
        ]
        if not touching:
            raise NoDecoder(f"the state {name!r} is used by no node that computes with tokens")
        return touching[0], touching[-1]

    @cached_property
    def _spans(self) -> list[tuple[int, int, list[State]]]:
        spans = []
        for states in self.layers:
            ends = [self._users[name] for state in states for name in _names(state)]
            spans.append((min(e[0] for e in ends), max(e[1] for e in ends), states))
        return sorted(spans, key=lambda span: span[0])

    @cached_property
    def cuts(self) -> list[int]:
        """The boundary between each two layers, where there is a legal one."""
        found = []
        for (_, end, _), (start, _, _) in itertools.pairwise(self._spans):
            legal = [b for b in range(end + 1, start + 1) if self._legal(b)]
            if legal:
                found.append(min(legal, key=self.boundaries.weight))
        return found

    @property
    def crossing_bytes(self) -> int:
        return sum(self.boundaries.bytes[boundary] for boundary in self.cuts)

    def _legal(self, boundary: int) -> bool:
        return self.boundaries.possible(boundary) and boundary > self._last_token_user

    @cached_property
    def _last_token_user(self) -> int:
        """Tokens go to the first stage alone."""
        return self._ends(self.known.tokens)[1]

    def stretches(self, stages: int) -> list[Stretch]:
        costs = shares(self.graph, list(self.order))
        ends = np.cumsum(costs)[np.array(self.cuts, dtype=np.int64) - 1] if self.cuts else costs[:0]
        chosen = choose(Cuts(ends, np.zeros(len(ends))), stages) if stages > 1 else []
        bounds = [0, *(self.cuts[i] for i in chosen), len(self.order)]
        made = []
        for start, end in itertools.pairwise(bounds):
            taken = self.boundaries.crossing(start) if start else []
            given = self.boundaries.crossing(end) if end < len(self.order) else []
            if passed := set(taken) & set(given):
                raise NoDecoder(
                    f"the tensor {min(passed)!r} is needed by more than the next stage; ask for fewer "
                    "stages"
                )
            states = [s for first, _, own in self._spans if start <= first < end for s in own]
            made.append(
                Stretch(
                    tuple(self.order[start:end]),
                    tuple(states),
                    tuple(taken),
                    tuple(given),
                    float(costs[start:end].sum()),
                )
            )
        return made


def _names(state: State) -> tuple[str, str]:
    return state.past, state.present


def _layers(states: Sequence[State]) -> list[list[State]]:
    """States that belong together: those with the same number in their names, else two after two."""
    numbers = [_NUMBER.search(state.past) for state in states]
    if not all(numbers):
        return [list(states[at : at + 2]) for at in range(0, len(states), 2)]
    layers: dict[str, list[State]] = {}
    for number, state in zip(numbers, states, strict=True):
        layers.setdefault(number.group() if number else "", []).append(state)
    return list(layers.values())
