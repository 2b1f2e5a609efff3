"""How each operator hands a split from its output to its inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from inference.graph.splitting.splits import Asked, Flow, Shape, Split
from inference.graph.standins import attributes

UNARY = frozenset(
    {"Abs", "Cast", "Celu", "Clip", "Cos", "Dropout", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid",
     "HardSwish", "Identity", "LeakyRelu", "Log", "Mish", "Neg", "Not", "QuickGelu",
     "Reciprocal", "Relu", "Selu", "Sigmoid", "Sin", "Softplus", "Softsign", "Sqrt", "Tanh",
     "ThresholdedRelu"}
)  # fmt: skip
BROADCASTING = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Where", "And", "Or", "Equal", "Greater",
     "Less", "PRelu", "BiasGelu", "FastGelu"}
)  # fmt: skip
_NORMALISING = frozenset({"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"})


def flow(asked: Asked) -> Flow | None:
    """How the node computes parts of its output; None where it cannot from parts of its inputs."""
    node = asked.node
    names = [n for n in (*node.input, node.output[asked.output]) if n]
    if any(asked.shapes.of(name) is None for name in names):
        return None
    if node.op_type in UNARY:
        return _everywhere(asked, (0,))
    if node.op_type in BROADCASTING:
        return _broadcast(asked)
    if node.op_type in _NORMALISING:
        return _everywhere(asked, (0,)) if asked.split.axis < asked.axis(-1) else None
    rule = _RULES.get(node.op_type)
    return rule(asked) if rule else None


def _everywhere(asked: Asked, inputs: Sequence[int]) -> Flow:
    return Flow(dict.fromkeys(inputs, asked.split), _first_output(asked))


def _first_output(asked: Asked) -> dict[int, Split]:
    return {asked.output: asked.split}


def _aligned(asked: Asked, name: str) -> Split | None:
    """The split of an input that is broadcast to the output; None: it is taken whole."""
    shape = asked.shape(name)
    axis = asked.split.axis - (len(asked.made) - len(shape))
    if axis < 0 or shape[axis] != asked.made[asked.split.axis]:
        return None
    return Split(axis, asked.split.outer)


def _broadcast(asked: Asked) -> Flow | None:
    found = {i: _aligned(asked, name) for i, name in enumerate(asked.node.input) if name}
    inputs = {i: split for i, split in found.items() if split is not None}
    return Flow(inputs, _first_output(asked)) if inputs else None


def _softmax(asked: Asked) -> Flow | None:
    """Before opset 13 it went over all axes from its own to the last, by default from 1."""
    return _everywhere(asked, (0,)) if asked.split.axis < asked.axis(1) else None


def _reduce(asked: Asked) -> Flow | None:
    given = attributes(asked.node)
    axes = given.get("axes")
    if axes is None and len(asked.node.input) > 1:
        axes = asked.constant(asked.node.input[1])
    if axes is None or not given.get("keepdims", 1):
        return None
    rank = len(asked.made)
    return _everywhere(asked, (0,)) if asked.split.axis not in {a % rank for a in axes} else None


def _transpose(asked: Asked) -> Flow:
    rank = len(asked.made)
    perm = attributes(asked.node).get("perm", range(rank)[::-1])
    return Flow({0: Split(perm[asked.split.axis], asked.split.outer)}, _first_output(asked))


def _reshape(asked: Asked) -> Flow | None:
    given = asked.shape(asked.node.input[0])
    found = _through_reshape(given, asked.made, asked.split)
    if found is None:
        return None
    split, mine, theirs = found
    fixed = asked.shapes.fixed
    if not all(fixed(asked.node.input[0], axis) for axis in theirs):
        return None
    if not all(fixed(asked.node.output[0], axis) for axis in mine):
        return None
    return Flow({0: split}, _first_output(asked), shape_input=(1, asked.split.axis, False))


def _through_reshape(
    given: Shape, made: Shape, split: Split
) -> tuple[Split, list[int], list[int]] | None:
    """The split of what is reshaped, and the axes on both sides that take part."""
    for mine, theirs in _groups(made, given):
        if split.axis not in mine:
            continue
        prefix = math.prod(made[a] for a in mine if a < split.axis) * split.outer
        before = 1
        for axis in theirs:
            outer, rest = divmod(prefix, before)
            if not rest and given[axis] % outer == 0 and given[axis] > outer:
                return Split(axis, outer), mine, theirs
            before *= given[axis]
    return None


def _groups(one: Shape, other: Shape) -> list[tuple[list[int], list[int]]]:
    """Axes of two shapes of equal size, grouped so that products are equal."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(one) and j < len(other):
        mine, theirs = [i], [j]
        left, right = one[i], other[j]
        i, j = i + 1, j + 1
        while left != right:
            if left < right and i < len(one):
                left, mine, i = left * one[i], [*mine, i], i + 1
            elif right < left and j < len(other):
                right, theirs, j = right * other[j], [*theirs, j], j + 1
            else:
                return groups
        groups.append((mine, theirs))
    return groups


def _expand(asked: Asked) -> Flow | None:
    split = _aligned(asked, asked.node.input[0])
    if split is None:
        return None
    return Flow({0: split}, _first_output(asked), shape_input=(1, asked.split.axis, True))


def _unsqueeze(asked: Asked) -> Flow | None:
    axes = _axes(asked, len(asked.made))
    if axes is None or asked.split.axis in axes:
        return None
    axis = asked.split.axis - sum(a < asked.split.axis for a in axes)
    return Flow({0: Split(axis, asked.split.outer)}, _first_output(asked))


def _squeeze(asked: Asked) -> Flow | None:
    rank = len(asked.shape(asked.node.input[0]))
    axes = _axes(asked, rank)
    if axes is None:
        return None
    kept = [a for a in range(rank) if a not in axes]
    return Flow({0: Split(kept[asked.split.axis], asked.split.outer)}, _first_output(asked))


def _axes(asked: Asked, rank: int) -> set[int] | None:
    axes = attributes(asked.node).get("axes")
    if axes is None and len(asked.node.input) > 1:
        axes = asked.constant(asked.node.input[1])
    return None if axes is None else {a % rank for a in axes}


def _slice(asked: Asked) -> Flow | None:
    node = asked.node
    axes = asked.constant(node.input[3]) if len(node.input) > 3 and node.input[3] else None
    rank = len(asked.made)
    if axes is None or asked.split.axis in {a % rank for a in axes}:
        return None
    return _everywhere(asked, (0,))


def _gather(asked: Asked) -> Flow | None:
    data, indices = (asked.shape(name) for name in asked.node.input[:2])
    axis = int(attributes(asked.node).get("axis", 0)) % len(data)
    at = asked.split.axis
    if axis <= at < axis + len(indices):
        return None
    mine = at if at < axis else at - len(indices) + 1
    return Flow({0: Split(mine, asked.split.outer)}, _first_output(asked))


def _concat(asked: Asked) -> Flow | None:
    if asked.split.axis == asked.axis(0):
        return None
    return _everywhere(asked, range(len(asked.node.input)))


def _split(asked: Asked) -> Flow | None:
    node, split = asked.node, asked.split
    outputs = range(len(node.output))
    if split.axis != asked.axis(0):
        return Flow({0: split}, dict.fromkeys(outputs, split))
    whole = asked.shape(node.input[0])[split.axis]
    if whole != len(outputs) * asked.made[split.axis]:
        return None
    inner = Split(split.axis, split.outer * len(outputs))
    sizes = 1 if len(node.input) > 1 and node.input[1] else None
    return Flow({0: inner}, dict.fromkeys(outputs, split), scaled_input=sizes)


def _product(asked: Asked) -> Flow | None:
    """Of two activations: split along an axis that counts products."""
    if asked.split.axis >= len(asked.made) - 2:
        return None
    return _broadcast(asked)


def _dequantise(asked: Asked) -> Flow | None:
    """One scale for all, or one for each place along an axis; not blocks of them."""
    given = attributes(asked.node)
    if given.get("block_size"):
        return None
    scaled = asked.axis(1) == asked.split.axis
    inputs = {0: asked.split}
    for position, name in enumerate(asked.node.input[1:], 1):
        if name and asked.shape(name) and scaled:
            inputs[position] = Split(0, asked.split.outer)
    return Flow(inputs, _first_output(asked))


def _heads(asked: Asked) -> Flow | None:
    """MultiHeadAttention with query, key and value apart, split by heads."""
    node = asked.node
    given = dict(enumerate(node.input))
    if not all(given.get(i) and len(asked.shape(given[i])) == 3 for i in (0, 1, 2)):
        return None
    if given.get(3):  # a bias of all three behind one another
        return None
    heads = attributes(node)["num_heads"]
    inputs = dict.fromkeys((0, 1, 2), Split(2))
    if given.get(5) and asked.shape(given[5])[1] == heads:
        inputs[5] = Split(1)
    inputs |= {i: Split(1) for i in (6, 7) if given.get(i)}
    return _attention(asked, inputs, ("num_heads",), (heads,))


def _grouped_heads(asked: Asked) -> Flow | None:
    """GroupQueryAttention with query, key and value apart, split by heads of keys."""
    given = dict(enumerate(asked.node.input))
    if not all(given.get(i) for i in (0, 1, 2)) or any(given.get(i) for i in (10, 11)):
        return None
    inputs = dict.fromkeys((0, 1, 2), Split(2)) | {i: Split(1) for i in (3, 4) if given.get(i)}
    found = attributes(asked.node)
    heads = (found["num_heads"], found["kv_num_heads"])
    return _attention(asked, inputs, ("num_heads", "kv_num_heads"), heads)


def _attention(
    asked: Asked, inputs: dict[int, Split], scaled: tuple[str, ...], heads: tuple[int, ...]
) -> Flow | None:
    outputs = {i: Split(1 if i else 2) for i in range(min(3, len(asked.node.output)))}
    if outputs.get(asked.output) != asked.split:
        return None
    return Flow(inputs, outputs, units=heads, scaled=scaled)


def _rotary(asked: Asked) -> Flow | None:
    """RotaryEmbedding over [batch, heads, length, head] or [batch, length, heads · head]."""
    shape, split = asked.made, asked.split
    if len(shape) == 4:
        return _everywhere(asked, (0,)) if split.axis == 1 else None
    if attributes(asked.node).get("rotary_embedding_dim") or split != Split(2):
        return None
    head = 2 * asked.shape(asked.node.input[2])[-1]
    scaled = ("num_heads",) if attributes(asked.node).get("num_heads") else ()
    return Flow({0: split}, {0: split}, units=(shape[2] // head,), scaled=scaled)


_RULES: dict[str, Callable[[Asked], Flow | None]] = {
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "ReduceMean": _reduce,
    "ReduceSum": _reduce,
    "ReduceMax": _reduce,
    "ReduceL2": _reduce,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Expand": _expand,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Slice": _slice,
    "Gather": _gather,
    "Concat": _concat,
    "Split": _split,
    "MatMul": _product,
    "MultiHeadAttention": _heads,
    "GroupQueryAttention": _grouped_heads,
    "RotaryEmbedding": _rotary,
    "DequantizeLinear": _dequantise,
}
