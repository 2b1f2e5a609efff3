"""Where the attentions of a graph are, from its structure.

1. An attention's core is a product of two activations (the scores), then scaling, masking and a softmax,
   then a product with another activation (the values). Or it is one operator that holds all of this.
2. Its projections are the products with weights that queries, keys and values come from without another
   one in between, and the one that its result goes to before it is added to anything.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable

from inference.graph.costs import FOLLOWERS, MOVERS
from inference.graph.cutting.products import activation_products, weight_products
from inference.graph.indexed import GraphIndex

FUSED = frozenset(
    {"Attention", "MultiHeadAttention", "GroupQueryAttention", "QAttention", "PackedAttention",
     "PackedMultiHeadAttention", "DecoderMaskedMultiHeadAttention", "DecoderMaskedSelfAttention",
     "PagedAttention", "SparseAttention"}
)  # fmt: skip
_SOFTMAX = frozenset({"Softmax", "Exp"})  # Exp: of a softmax in its parts
_SIMPLE = FOLLOWERS | MOVERS
_ADDING = frozenset({"Add", "Sub", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization"})
_OF_SHAPES = frozenset({"Shape", "Size", "Range", "ConstantOfShape"})  # no data goes through these


@dataclasses.dataclass(frozen=True)
class Attention:
    """One attention: indices of nodes.

    Attributes:
        core: scores, softmax and the product with the values; or the fused operator.
        projections: products with weights before and after the core.
    """

    core: tuple[int, ...]
    projections: frozenset[int]


def find_attentions(graph: GraphIndex) -> list[Attention]:
    """The attentions, in the order of their cores in the file."""
    return _Search(graph).attentions()


class _Search:
    def __init__(self, graph: GraphIndex) -> None:
        self.graph = graph
        self.weighted = weight_products(graph)
        self.products = activation_products(graph)
        self.readers: dict[str, list[int]] = defaultdict(list)
        for index in sorted(graph.live - graph.fixed):
            for name in graph.uses[index]:
                self.readers[name].append(index)

    def attentions(self) -> list[Attention]:
        found: dict[tuple[int, ...], Attention] = {}
        for index in sorted(self.graph.live - self.graph.fixed):
            node = self.graph.nodes[index]
            if node.op_type in FUSED:
                sources = [n for n in node.input[:3] if n]
                own = any(map(self.graph.is_fixed, sources))  # its projections are its own weights
                found[index,] = self._attention((index,), [] if own else sources)
            elif node.op_type in _SOFTMAX:
                for core, sources in self._around(index):
                    found.setdefault(core, self._attention(core, sources))
        return list(found.values())

    def _attention(self, core: tuple[int, ...], sources: Iterable[str]) -> Attention:
        return Attention(core, frozenset(self._before(sources) | self._after(core[-1])))

    def _around(self, softmax: int) -> list[tuple[tuple[int, ...], list[str]]]:
        """Cores around a softmax, each with the names of its queries, keys and values."""
        cores: list[tuple[tuple[int, ...], list[str]]] = []
        for scores in sorted(self._nearest_before(softmax)):
            for mixing in sorted(self._nearest_after(softmax)):
                given = self.graph.nodes[mixing].input
                values = [n for n in given if softmax not in self._simple_before(n)]
                query_and_key = list(self.graph.nodes[scores].input)
                cores.append(((scores, softmax, mixing), [*query_and_key, *values]))
        return cores

    def _nearest_before(self, index: int) -> set[int]:
        """Products of activations that simple nodes alone lie behind, up to this one."""
        found = self._simple_before(*self.graph.nodes[index].input)
        return found & self.products

    def _simple_before(self, *names: str) -> set[int]:
        """What names come from through simple nodes, up to the first others, those included."""
        seen: set[int] = set()
        stack = list(names)
        while stack:
            index = self.graph.producer.get(stack.pop())
            if index is None or index in seen or index in self.graph.fixed:
                continue
            seen.add(index)
            kind = self.graph.nodes[index].op_type
            if kind in _SIMPLE and kind not in _OF_SHAPES:
                stack.extend(self.graph.nodes[index].input)
        return seen

    def _nearest_after(self, index: int) -> set[int]:
        found: set[int] = set()
        seen: set[int] = set()
        stack = [index]
        while stack:
            for name in self.graph.nodes[stack.pop()].output:
                for reader in self.readers[name]:
                    if reader in seen:
                        continue
                    seen.add(reader)
                    kind = self.graph.nodes[reader].op_type
                    if reader in self.products:
                        found.add(reader)
                    elif kind in _SIMPLE and kind not in _OF_SHAPES:
                        stack.append(reader)
        return found

    def _before(self, names: Iterable[str]) -> set[int]:
        """The products with weights that names come from, without another in between."""
        found: set[int] = set()
        seen: set[int] = set()
        stack = list(names)
        while stack:
            index = self.graph.producer.get(stack.pop())
            if index is None or index in seen or index in self.graph.fixed:
                continue
            seen.add(index)
            if index in self.weighted:
                found.add(index)
            elif self.graph.nodes[index].op_type not in _OF_SHAPES:
                stack.extend(self.graph.uses[index])
        return found

    def _after(self, index: int) -> set[int]:
        """The products with weights that a result goes to, before anything is added to it."""
        found: set[int] = set()
        seen: set[int] = set()
        stack = [index]
        while stack:
            for name in self.graph.nodes[stack.pop()].output[:1]:
                for reader in self.readers[name]:
                    if reader in seen:
                        continue
                    seen.add(reader)
                    if reader in self.weighted:
                        found.add(reader)
                    elif self._passes(reader):
                        stack.append(reader)
        return found

    def _passes(self, index: int) -> bool:
        node = self.graph.nodes[index]
        if node.op_type in _ADDING:
            return any(map(self.graph.is_fixed, node.input[:2]))
        return node.op_type in _SIMPLE and node.op_type not in _OF_SHAPES
