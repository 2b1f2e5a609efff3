"""A decoder that listens, as exported: what it keeps of the encoder's output is made by the encoder.

Optimum's exports compute the keys and values of what an encoder made in the decoder's first step, and keep
them as caches (present.N.encoder.key|value → past_key_values.N.encoder.key|value).

1. The nodes behind those outputs, back to `encoder_hidden_states`, are set behind the encoder, whose outputs
   they become, under the names of the decoder's inputs.
2. Of the decoder the branch with a cache is left, without those outputs and what only they need. It holds for
   an empty cache, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Set

import onnx
from onnx import TensorProto, helper

from inference.graph.decoding.prepare import take_branch
from inference.graph.decoding.states import NoDecoder
from inference.graph.model import DEFAULT_PREFIX
from inference.graph.structure import bodies, used

_PRESENT = re.compile(r"present\.(\d+)\.encoder\.(key|value)")
_HIDDEN, _MASK, _TOKENS = "encoder_hidden_states", "encoder_attention_mask", "input_ids"
_PREFIX = "memory/"


def hears(model: onnx.ModelProto) -> bool:
    """Whether a decoder computes what it keeps of an encoder itself."""
    return any(_PRESENT.fullmatch(item.name) for item in model.graph.output)


def with_memory(
    encoder: onnx.ModelProto, first: onnx.ModelProto, decoder: onnx.ModelProto
) -> onnx.ModelProto:
    """The encoder, which gives all that `decoder` takes of it; changed in place.

    Args:
        first: the decoder's first step, or a merged file; changed, too.
        decoder: as `without_memory` left it.

    Raises:
        NoDecoder: the parts do not fit together; says what was expected.
    """
    take_branch(first, "else_branch")
    taken = {item.name: item for item in decoder.graph.input}
    made = {
        f"past_key_values.{found[1]}.encoder.{found[2]}": item.name
        for item in first.graph.output
        if (found := _PRESENT.fullmatch(item.name))
    }
    wanted = {past: made[past] for past in taken if past in made}
    if not wanted:
        raise NoDecoder(
            "its first step makes no keys and values (present.0.encoder.key …) that it takes"
        )
    _same_operators(encoder, first)
    (hidden,) = (item.name for item in encoder.graph.output[:1])
    nodes = list(_behind(first.graph, wanted.values()))
    needed = _needs(nodes) - {name for node in nodes for name in node.output} - {""}
    given = [item for item in first.graph.initializer if item.name in needed]
    encoder.graph.node.extend(_bound(needed - {item.name for item in given}, hidden))
    encoder.graph.node.extend(_renamed(node, _PREFIX) for node in nodes)
    for item in given:
        encoder.graph.initializer.add().CopyFrom(item)
        encoder.graph.initializer[-1].name = _PREFIX + item.name
    del encoder.graph.output[:]
    for past, present in wanted.items():
        _give(encoder, _PREFIX + present, taken[past])
    if _HIDDEN in taken:
        _give(encoder, hidden, taken[_HIDDEN])
    if _MASK in taken:
        _give(encoder, "attention_mask", taken[_MASK])
    if any(item.name == "attention_mask" for item in encoder.graph.input):
        helper.set_model_props(encoder, {f"{DEFAULT_PREFIX}attention_mask": "ones_like:input_ids"})
    return encoder


def without_memory(decoder: onnx.ModelProto) -> onnx.ModelProto:
    """The decoder that takes what an encoder made, and gives none of it; changed in place.

    Raises:
        NoDecoder: it takes one token at a time only.
    """
    take_branch(decoder)
    graph = decoder.graph
    left = [item for item in graph.output if not _PRESENT.fullmatch(item.name)]
    del graph.output[:]
    graph.output.extend(left)
    nodes = list(_behind(graph, [item.name for item in left]))
    needed = _needs(nodes) | {item.name for item in left}
    for field in (graph.input, graph.initializer):
        kept = [item for item in field if item.name in needed]
        del field[:]
        field.extend(kept)
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    for item in graph.input:
        sizes = item.type.tensor_type.shape.dim
        if item.name == _TOKENS and len(sizes) == 2 and sizes[1].dim_value == 1:
            raise NoDecoder("it takes one token at a time; expected input_ids of any length")
    return decoder


def _behind(graph: onnx.GraphProto, names: Iterable[str]) -> Iterator[onnx.NodeProto]:
    """Copies of the nodes that these are computed by, in their order."""
    wanted, found = set(names), []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            found.append(copy)
            wanted |= _needs([node])
    return reversed(found)


def _needs(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """The names that they read, also those that they make among themselves."""
    return {name for node in nodes for name in used(node)}


def _renamed(node: onnx.NodeProto, prefix: str) -> onnx.NodeProto:
    """With a prefix before each name, so that it is nobody else's."""
    node.name = prefix + node.name
    for names in (node.input, node.output):
        names[:] = [name and prefix + name for name in names]
    for body in bodies(node):
        for inner in body.node:
            _renamed(inner, prefix)
        for item in (*body.input, *body.output, *body.initializer):
            item.name = prefix + item.name
    return node


def _bound(inputs: Set[str], hidden: str) -> Iterator[onnx.NodeProto]:
    """What the first step is given: the encoder's output, and a token of which the sizes alone can count."""
    for name in sorted(inputs):
        if name == _HIDDEN:
            yield helper.make_node("Identity", [hidden], [_PREFIX + name])
        elif name == _TOKENS:
            yield from _tokens(hidden)
        else:
            raise NoDecoder(
                f"its keys and values of the encoder depend on {name!r}; expected {_HIDDEN} alone"
            )


def _tokens(hidden: str) -> Iterator[onnx.NodeProto]:
    """int64[batch, 1] of zeros."""
    at = f"{_PREFIX}{_TOKENS}"
    ends = {"0": 0, "1": 1}
    for name, value in ends.items():
        tensor = helper.make_tensor("value", TensorProto.INT64, [1], [value])
        yield helper.make_node("Constant", [], [f"{at}/{name}"], value=tensor)
    zero = helper.make_tensor("value", TensorProto.INT64, [1], [0])
    yield helper.make_node("Shape", [hidden], [f"{at}/sizes"])
    yield helper.make_node("Gather", [f"{at}/sizes", f"{at}/0"], [f"{at}/batch"])
    yield helper.make_node("Concat", [f"{at}/batch", f"{at}/1"], [f"{at}/shape"], axis=0)
    yield helper.make_node("ConstantOfShape", [f"{at}/shape"], [at], value=zero)


def _give(encoder: onnx.ModelProto, made: str, port: onnx.ValueInfoProto) -> None:
    """An output under the name, and of the type, of what the decoder takes."""
    encoder.graph.node.append(helper.make_node("Identity", [made], [port.name]))
    encoder.graph.output.add().CopyFrom(port)


def _same_operators(one: onnx.ModelProto, another: onnx.ModelProto) -> None:
    versions = [{item.domain: item.version for item in m.opset_import} for m in (one, another)]
    for domain in versions[0].keys() & versions[1].keys():
        if versions[0][domain] != versions[1][domain]:
            raise NoDecoder(
                f"encoder and decoder are of the opsets {versions[0][domain]} and {versions[1][domain]}; "
                "expected the same"
            )
    for domain in versions[1].keys() - versions[0].keys():
        one.opset_import.add(domain=domain, version=versions[1][domain])
