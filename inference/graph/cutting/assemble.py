"""Make the steps of a plan out of sets of nodes: what goes in and out of each, and which weights go along.

1. What was computed in one set and is used in another crosses by name: a later step takes it from
   wherever it was computed (a skip is carried, not recomputed).
2. Initialisers go with the steps that use them, and so do nodes that depend on weights alone; shared ones
   are copied. Control flow stays whole: what its bodies capture counts as used by the node itself.

An output of the model that is one of its inputs is given by no step: whoever has the inputs has it.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

from inference.graph.cutting.shares import shares
from inference.graph.indexed import GraphIndex
from inference.graph.steps import JoinSpec, Role, Step, StepKind
from inference.graph.structure import with_ancestors


@dataclasses.dataclass(frozen=True)
class Piece:
    """What is to become a step: nodes in order, none of them fixed, and what a `Step` says of them."""

    nodes: tuple[int, ...]
    role: Role = Role.LAYERS
    group: str = ""
    part: int | None = None
    join: tuple[str, int | None] | None = None  # op and axis, for a piece of one joining node


def assemble(graph: GraphIndex, pieces: Sequence[Piece]) -> list[Step]:
    """Steps in the order of the pieces, each of which may use what earlier ones computed."""
    return _Assembly(graph, pieces).steps()


class _Assembly:
    def __init__(self, graph: GraphIndex, pieces: Sequence[Piece]) -> None:
        self.graph, self.pieces = graph, pieces
        order = [i for piece in pieces for i in piece.nodes]
        self.cost = dict(zip(order, shares(graph, order).tolist(), strict=True))
        self.readers: dict[str, set[int]] = defaultdict(set)  # tensor → pieces that take it
        for at, piece in enumerate(pieces):
            for index in piece.nodes:
                for name in graph.uses[index]:
                    self.readers[name].add(at)
        self.makers: dict[str, int] = {}  # tensor → the step that gives it
        self.seen: set[str] = set()  # weights and constants that a step holds

    def steps(self) -> list[Step]:
        return [self._step(at, piece) for at, piece in enumerate(self.pieces)]

    def _step(self, at: int, piece: Piece) -> Step:
        graph = self.graph
        first = at == 0  # gives the outputs that no activation reaches: constants and weights
        fixed: set[int] = set().union(*(graph.fixed_for(i) for i in piece.nodes))
        if first:
            ends = {graph.producer[n] for n in graph.graph_outputs if n in graph.producer}
            fixed |= with_ancestors(ends & graph.fixed, graph.uses, graph.producer)
        nodes = [*sorted(fixed), *piece.nodes]
        taken = {name for i in nodes for name in graph.uses[i]}
        made = {name for i in nodes for name in graph.nodes[i].output if name}
        given = self._given(at, piece.nodes)
        if first:
            constant = [n for n in graph.graph_outputs if graph.is_fixed(n)]
            given += constant
            taken |= {name for name in constant if name in graph.weights}
        carried = sorted(name for name in taken - made if name in graph.producer)
        initialisers = sorted(taken & graph.weights)
        sizes = graph.weight_bytes(initialisers, nodes)
        outputs = tuple(map(graph.spec, dict.fromkeys(given)))
        step = Step(
            index=at,
            nodes=tuple(nodes),
            inputs=tuple(spec for name, spec in graph.inputs.items() if name in taken)
            + tuple(map(graph.spec, carried)),
            outputs=outputs,
            initialisers=tuple(initialisers),
            depends_on=tuple(sorted({self.makers[name] for name in carried})),
            crossing=tuple(carried),
            crossing_bytes=sum(map(graph.bytes_of, carried)),
            cost=sum(self.cost[i] for i in piece.nodes) if self.cost else 1.0,
            weight_bytes=sum(sizes.values()),
            copied_bytes=sum(size for key, size in sizes.items() if key in self.seen),
            kind=StepKind.JOIN if piece.join else StepKind.COMPUTE,
            role=piece.role,
            group=piece.group,
            part=piece.part,
            join=self._join(piece),
        )
        self.seen.update(sizes)
        self.makers.update({spec.name: at for spec in outputs})
        return step

    def _given(self, at: int, own: Sequence[int]) -> list[str]:
        """Tensors that other steps or the caller want from these nodes."""
        return [
            name
            for i in own
            for name in self.graph.nodes[i].output
            if name and (self.readers[name] - {at} or name in self.graph.graph_outputs)
        ]

    def _join(self, piece: Piece) -> JoinSpec | None:
        if piece.join is None:
            return None
        (node,) = (self.graph.nodes[i] for i in piece.nodes)
        op, axis = piece.join
        return JoinSpec(op, axis, tuple(node.input), self.graph.spec(node.output[0]))
