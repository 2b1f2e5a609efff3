"""What a decoder's ports are: its states in pairs, its logits, and what fills its other inputs.

1. A state is an input that a node joins to what it computes: a Concat, or an attention with places for a
   past. Its `present` is what that node makes. Where no node shows it, names do (past… → present…).
2. What an encoder makes is no state: it is called so, or is the past of an attention to it.
3. The other inputs are told by the names that exporters give them.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

import numpy as np
import onnx

from inference.core.generation.stages import Stage, StageInput, State, Use
from inference.graph.indexed import GraphIndex
from inference.graph.spec import TensorSpec
from inference.graph.standins import attributes

# Where attentions take a past and give a present: operator → (input, output) of keys and of values.
_PLACES: Mapping[str, tuple[tuple[int, int], ...]] = {
    "GroupQueryAttention": ((3, 1), (4, 2)),
    "MultiHeadAttention": ((6, 1), (7, 2)),
    "Attention": ((4, 1), (5, 2)),  # ONNX's own; onnxruntime's packs both into one
}
_AXIS_OF_ATTENTION = 2
_NAMES: tuple[tuple[str, str], ...] = (
    ("past_key_values", "present"),
    ("past_key_values", "present_key_values"),
    ("past", "present"),
)
_USES: Mapping[str, Use] = {
    "input_ids": Use.TOKENS,
    "attention_mask": Use.MASK,
    "position_ids": Use.POSITIONS,
    "cache_position": Use.POSITIONS,
    "seqlens_k": Use.LAST_POSITION,
    "total_sequence_length": Use.LENGTH,
    "total_seq_len": Use.LENGTH,
    "use_cache_branch": Use.CACHED,
    "logit_rows": Use.ROWS,
    "encoder_hidden_states": Use.MEMORY,
    "encoder_attention_mask": Use.MEMORY,
}
_OF_ENCODER = re.compile(r"past_key_values\.\d+\.encoder\.(key|value)")
_SHOWN = 6


class NoDecoder(ValueError):
    """The graph is no decoder with a cache that can be used; says what was looked for and found."""


@dataclasses.dataclass(frozen=True)
class Found:
    """A decoder's ports; `state_bytes` of all caches, per position."""

    whole: Stage
    vocabulary: int
    state_bytes: int


def find(graph: GraphIndex, called: Mapping[str, str] | None = None) -> Found:
    """A decoder's ports, from its graph.

    Args:
        called: for inputs with names of their own the usual one, such as {"tokens": "input_ids"}.

    Raises:
        NoDecoder: it has no cache, a state without its other half, or an input that nothing is known of.
    """
    states = _states(graph)
    logits = _logits(graph, states)
    return Found(
        Stage(_others(graph, states, called or {}), states, (), logits.name),
        _vocabulary(logits),
        sum(bytes_per_position(state) for state in states),
    )


def looks_like_one(model: onnx.ModelProto) -> bool:
    """Whether a model has inputs that are called what caches are called."""
    given = {item.name for item in model.graph.initializer}
    return any(
        ("past" in item.name or "cache" in item.name) and item.name not in given
        for item in model.graph.input
    )


def bytes_per_position(state: State) -> int:
    sizes = (size for axis, size in enumerate(state.shape) if axis != state.axis)
    return math.prod(sizes) * np.dtype(state.dtype).itemsize


# --- states --------------------------------------------------------------------------------------


def _states(graph: GraphIndex) -> tuple[State, ...]:
    shown = dict(_joined(graph))
    found = []
    for name, spec in graph.inputs.items():
        if spec.optional or _OF_ENCODER.fullmatch(name):
            continue
        if name not in shown and not _named(spec):
            continue
        present, axis = shown.get(name, ("", None))
        found.append(_state(graph, spec, present or _by_name(graph, name), axis))
    if not found:
        raise NoDecoder(
            "it has no cache: expected inputs such as past_key_values.0.key with outputs such as "
            f"present.0.key, found the inputs {_listed(graph.inputs)}"
        )
    return tuple(found)


def _named(spec: TensorSpec) -> bool:
    return len(spec.shape) > 2 and ("past" in spec.name or "cache" in spec.name)


def _joined(graph: GraphIndex) -> Iterator[tuple[str, tuple[str, int | None]]]:
    """Input → the output that a node makes of it, and the axis along which it grows."""
    given = set(graph.graph_outputs)
    for index in sorted(graph.live):
        node = graph.nodes[index]
        if node.op_type == "Concat" and node.output[0] in given:
            (axis,) = (item.i for item in node.attribute if item.name == "axis")
            for name in node.input[:1]:
                if name in graph.inputs:
                    yield name, (node.output[0], axis % len(graph.inputs[name].shape))
        for at, out in _PLACES.get(node.op_type, ()):
            there = len(node.input) > at and len(node.output) > out
            if there and node.input[at] in graph.inputs and node.output[out] in given:
                yield node.input[at], (node.output[out], _AXIS_OF_ATTENTION)


def _by_name(graph: GraphIndex, past: str) -> str:
    candidates = [past.replace(old, new) for old, new in _NAMES if old in past]
    for name in candidates:
        if name in graph.graph_outputs:
            return name
    raise NoDecoder(
        f"the state {past!r} has no other half: expected an output such as "
        f"{(candidates or ['present'])[0]!r}, found {_listed(graph.outputs)}"
    )


def _state(graph: GraphIndex, past: TensorSpec, present: str, axis: int | None) -> State:
    made = graph.outputs[present]
    if made.dtype != past.dtype or len(made.shape) != len(past.shape):
        raise NoDecoder(
            f"the state {past.name!r} is {past.dtype}{list(past.shape)}, and {present!r}, which should "
            f"follow it, is {made.dtype}{list(made.shape)}"
        )
    open_axes = [i for i, size in enumerate(past.shape) if i and not isinstance(size, int)]
    if axis is None and len(open_axes) == 1:
        axis = open_axes[0]
    if axis is None or open_axes != [axis]:
        raise NoDecoder(
            f"the state {past.name!r} has the shape {list(past.shape)}; expected one dimension of any "
            "size, that of the positions, behind the batch, and fixed sizes for the rest"
        )
    fixed = [0 if i == axis else size for i, size in enumerate(past.shape[1:], 1)]
    return State(past.name, present, past.dtype, (1, *map(int, fixed)), axis)


# --- the rest ------------------------------------------------------------------------------------


def _others(
    graph: GraphIndex, states: tuple[State, ...], called: Mapping[str, str]
) -> tuple[StageInput, ...]:
    pasts = {state.past for state in states}
    found = []
    for name, spec in graph.inputs.items():
        if spec.optional or name in pasts:
            continue
        usual = called.get(name, name)
        use = Use.MEMORY if _OF_ENCODER.fullmatch(usual) else _USES.get(usual)
        if use is None:
            raise NoDecoder(
                f"nothing is known of its input {name!r} ({spec.dtype}{list(spec.shape)}); expected, "
                f"besides the states, {', '.join(_USES)}"
            )
        found.append(StageInput(name, use, spec.dtype, len(spec.shape)))
    if sum(item.use is Use.TOKENS for item in found) != 1:
        raise NoDecoder(f"it takes no tokens: expected input_ids, found {_listed(graph.inputs)}")
    return tuple(found)


def _logits(graph: GraphIndex, states: tuple[State, ...]) -> TensorSpec:
    presents = {state.present for state in states}
    rest = [spec for spec in graph.outputs.values() if spec.name not in presents]
    named = [spec for spec in rest if spec.name == "logits"] or rest
    if len(named) != 1 or len(named[0].shape) != 3 or "float" not in named[0].dtype:
        raise NoDecoder(
            "expected one output of logits, float [batch, positions, vocabulary], besides the states; "
            f"found {', '.join(f'{s.name} {s.dtype}{list(s.shape)}' for s in rest) or 'none'}"
        )
    return named[0]


def _vocabulary(logits: TensorSpec) -> int:
    size = logits.shape[2]
    if not isinstance(size, int):
        raise NoDecoder(
            f"the logits {logits.name!r} have the shape {list(logits.shape)}; expected a fixed size of "
            "the vocabulary as the last dimension"
        )
    return size


def _listed(specs: Mapping[str, TensorSpec]) -> str:
    names = list(specs)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more


def known_context(model: onnx.ModelProto, whole: Stage) -> int:
    """How many positions the graph's own tables have rows for; 0: it has none that its positions look up."""
    positions = {item.name for item in whole.inputs if item.use is Use.POSITIONS}
    rows = {item.name: item.dims[0] for item in model.graph.initializer if len(item.dims) == 2}
    found = []
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[1] in positions and node.input[0] in rows:
            found.append(rows[node.input[0]])
        if node.op_type in ("GroupQueryAttention", "RotaryEmbedding"):
            found += [rows[name] for name in node.input if name in rows and _rotary(node, name)]
    return min(found, default=0)


def _rotary(node: onnx.NodeProto, name: str) -> bool:
    """Whether an input is a table of cosines or sines, by its place."""
    at = list(node.input).index(name)
    if node.op_type == "GroupQueryAttention":
        return at in (7, 8) and bool(attributes(node).get("do_rotary"))
    return at in (2, 3)
