"""What of a decoder each stage computes for itself: masks, rotary tables, sizes.

Known everywhere is what depends on weights, on inputs other than the tokens and the states, and on sizes: of
the tokens, of a cache, of an activation that has a row per token. Those of a tensor that a stage does not
have are read off one that it has.
"""

from __future__ import annotations

from functools import cached_property

from inference.core.generation.stages import Stage, Use
from inference.graph.indexed import GraphIndex
from inference.graph.spec import TensorSpec
from inference.graph.structure import RANDOM


class KnownParts:
    """The nodes of a graph that any stage may compute from its own inputs."""

    def __init__(self, graph: GraphIndex, whole: Stage) -> None:
        self.graph, self.whole = graph, whole
        self.tokens = next(item.name for item in whole.inputs if item.use is Use.TOKENS)
        self.inputs = {item.name for item in whole.inputs} - {self.tokens}
        self.states = {state.past: state for state in whole.states}
        self._rows = graph.inputs[self.tokens].shape

    @cached_property
    def nodes(self) -> frozenset[int]:
        """Indices of the live nodes that are known everywhere, and are not fixed."""
        graph = self.graph
        known = self.inputs | {n for n in graph.inputs if graph.inputs[n].optional} | graph.weights
        known |= {name for i in graph.fixed for name in graph.nodes[i].output}
        found = set()
        for index in sorted(graph.live - graph.fixed):
            node = graph.nodes[index]
            if node.op_type in RANDOM:
                continue
            if node.op_type == "Shape" and self.measurable(node.input[0]):
                pass
            elif not known.issuperset(graph.uses[index]):
                continue
            found.add(index)
            known.update(name for name in node.output if name)
        return frozenset(found)

    def measurable(self, name: str) -> bool:
        """Whether the shape of a tensor can be read off what every stage has."""
        return name == self.tokens or name in self.states or self.width(name) is not None

    def width(self, name: str) -> int | None:
        """Of an activation [batch, tokens, width]: its width; None for what has another shape."""
        typed = self.graph.types.get(name)
        shape = typed.shape if typed else None
        if shape is None or len(shape) != 3 or shape[:2] != self._rows:
            return None
        return shape[2] if isinstance(shape[2], int) else None

    def positions(self) -> str:
        """An input of one element per token, [batch, tokens]; "" where there is none."""
        for item in self.whole.inputs:
            if item.use is Use.POSITIONS and item.rank == 2:
                return item.name
        return ""

    def spec(self, name: str) -> TensorSpec:
        return self.graph.inputs[name]
