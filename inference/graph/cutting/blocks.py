"""Cut a transformer between the attention part and the feed-forward part of each of its blocks.

1. `attention` finds the attentions and their projections. Every other product with weights that an
   attention comes before is feed-forward.
2. Along an order of the nodes these make runs: attention, feed-forward, attention, … A decoder block's
   self- and cross-attention have no feed-forward product between them, and are one run.
3. Between two runs the cut is where fewest bytes cross: at the residual stream.

What comes before the first attention (embeddings, a patch convolution) goes with it, the head with the
last part. Where a file's order and the depth-first one differ, the one with fewer runs is cut.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import onnx

from inference.graph.cutting.assemble import Piece, assemble
from inference.graph.cutting.attention import FUSED, Attention, find_attentions
from inference.graph.cutting.boundaries import Boundaries, orders
from inference.graph.cutting.products import activation_products, weight_products
from inference.graph.indexed import GraphIndex
from inference.graph.model import load, normalise
from inference.graph.steps import Role, Step

_ATTENTION, _FEED_FORWARD = Role.ATTENTION, Role.FEED_FORWARD


class NoBlocks(ValueError):
    """The graph has no blocks of attention and feed-forward; says what was looked for and found."""


def plan_attention_feedforward(path: Path) -> list[Step]:
    """The parts of a model file's blocks in order; `Step.role` says which each is.

    Raises:
        InvalidModel: the file cannot be read.
        NoBlocks: no attention, or no feed-forward after one.
    """
    return plan_blocks(load(path))


def plan_blocks(model: onnx.ModelProto) -> list[Step]:
    """The same for a graph in memory, whose weights need not be there; it is normalised in place."""
    normalise(model)
    graph = GraphIndex(model)
    attentions = find_attentions(graph)
    if not attentions:
        raise NoBlocks(_no_attention(graph))
    labels = _labels(graph, attentions)
    if _FEED_FORWARD not in labels.values():
        raise NoBlocks(
            "looked for products of activations with weights behind an attention, other than its own "
            f"projections (a feed-forward part); found {len(attentions)} attentions and none of those"
        )
    cuts = [_cuts(Boundaries(graph, order), labels) for order in orders(graph)]
    possible = [found for found in cuts if found is not None]
    if not possible:
        raise NoBlocks(
            f"found {len(attentions)} attentions with feed-forward parts between them, but no place to "
            "cut: tensors of unknown type, or sequences, cross everywhere between the parts"
        )
    _, _, order, bounds, roles = min(possible, key=lambda found: found[:2])
    ends = [0, *bounds, len(order)]
    return assemble(
        graph,
        [
            Piece(tuple(order[start:end]), role)
            for (start, end), role in zip(itertools.pairwise(ends), roles, strict=True)
        ],
    )


def _labels(graph: GraphIndex, attentions: list[Attention]) -> dict[int, Role]:
    """Which nodes are of an attention and which of a feed-forward part; the others are of neither."""
    of_attention = {i for found in attentions for i in (*found.core, *found.projections)}
    behind: set[int] = {found.core[-1] for found in attentions}
    for index in sorted(graph.live - graph.fixed):  # the file is in order
        before = (graph.producer.get(name) for name in graph.uses[index])
        if any(maker in behind for maker in before):
            behind.add(index)
    rest = (weight_products(graph) & behind) - of_attention
    return dict.fromkeys(of_attention, _ATTENTION) | dict.fromkeys(rest, _FEED_FORWARD)


def _cuts(
    boundaries: Boundaries, labels: dict[int, Role]
) -> tuple[int, int, list[int], list[int], list[Role]] | None:
    """How many parts, what crosses between them, the order, its cuts and the parts; None: impossible."""
    order = boundaries.order
    marked = [(at, labels[index]) for at, index in enumerate(order) if index in labels]
    roles, cuts = [marked[0][1]], []
    for (before, one), (after, other) in itertools.pairwise(marked):
        if one == other:
            continue
        places = [b for b in range(before + 1, after + 1) if boundaries.possible(b)]
        if not places:
            return None
        cuts.append(min(places, key=boundaries.weight))
        roles.append(other)
    return len(roles), sum(map(boundaries.weight, cuts)), order, cuts, roles


def _no_attention(graph: GraphIndex) -> str:
    kinds = [graph.nodes[i].op_type for i in graph.live - graph.fixed]
    return (
        "looked for attention: a product of two activations, a softmax, and a product with another "
        f"activation, or one of the operators {', '.join(sorted(FUSED))}; found "
        f"{len(activation_products(graph))} products of two activations, {kinds.count('Softmax')} "
        f"Softmax and {sum(kind in FUSED for kind in kinds)} such operators, not in that order"
    )
