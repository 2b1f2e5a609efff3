"""Whisper and T5 that write: an encoder that also makes its keys and values, and a decoder with a cache.

The names are Optimum's: the decoder takes past_key_values.N.encoder.key|value, which the encoder gives under
the same names, float32[batch, heads, source, head size], and past_key_values.N.decoder.key|value, which it
gives grown by the step as present.N.decoder.key|value. Weights have the names of Hugging Face's checkpoints,
so that a seed gives the same ones as the graphs without a cache.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from inference.zoo import t5, whisper
from inference.zoo.builder import FLOAT, INT64
from inference.zoo.graph import Graph, Port
from inference.zoo.layers import cached
from inference.zoo.layers.attention import split_heads
from inference.zoo.layers.cached import Heads, attend_cached
from inference.zoo.layers.net import Net
from inference.zoo.precision import FLOAT32, Precision
from inference.zoo.t5 import T5Config
from inference.zoo.weights import Seeded, Weights
from inference.zoo.whisper import WhisperConfig

_PARTS = ("key", "value")


def whisper_graphs(
    config: WhisperConfig, precision: Precision = FLOAT32, weights: Weights | None = None
) -> dict[str, Graph]:
    """ "encoder": input_features float32[batch, mels, frames] → the decoder's keys and values.

    "decoder": input_ids, position_ids int64[batch, sequence], attention_mask int64[batch, past + sequence],
    the encoder's and its own keys and values → logits float32[batch, 1, vocabulary], of the last position.
    """
    source = weights or Seeded(0)
    return {
        "encoder": _whisper_encoder(config, Net("whisper_encoder", precision, source)),
        "decoder": _whisper_decoder(config, Net("whisper_decoder", precision, source)),
    }


def t5_graphs(
    config: T5Config, precision: Precision = FLOAT32, weights: Weights | None = None
) -> dict[str, Graph]:
    """ "encoder": input_ids, attention_mask int64[batch, source] → the decoder's keys and values.

    "decoder": as Whisper's, without position_ids' embedding: distances count. One text at a time: nothing of
    the source is hidden.
    """
    source = weights or Seeded(0)
    return {
        "encoder": _t5_encoder(config, Net("t5_encoder", precision, source)),
        "decoder": _t5_decoder(config, Net("t5_decoder", precision, source)),
    }


# --- Whisper -------------------------------------------------------------------------------------


def _whisper_encoder(c: WhisperConfig, net: Net) -> Graph:
    hidden = whisper.encoded(c, net)
    size = c.hidden // c.heads

    def project(layer: int, part: str) -> str:
        at = f"model.decoder.layers.{layer}.encoder_attn.{part[0]}_proj"
        return net.linear(at, hidden, c.hidden, c.hidden, bias=part == "value")

    outputs = _given(net, c.decoder_layers, c.heads, size, c.source, project)
    return net.graph([("input_features", FLOAT, ["batch", c.mels, c.frames])], outputs)


def _whisper_decoder(c: WhisperConfig, net: Net) -> Graph:
    at, size = "model.decoder", c.hidden // c.heads
    hidden = net.op(
        "Add",
        net.embedding(f"{at}.embed_tokens", "input_ids", c.vocabulary, c.hidden),
        net.embedding(f"{at}.embed_positions", "position_ids", c.target, c.hidden),
    )
    sight = cached.visible(net, "attention_mask", "position_ids")
    heads = Heads(c.heads, c.heads, size, size**-0.5)
    presents: list[str] = []
    for layer in range(c.decoder_layers):
        block = f"{at}.layers.{layer}"

        def project(part: str, normal: str, where: str = block) -> str:
            return net.linear(
                f"{where}.{part}_proj", normal, c.hidden, c.hidden, bias=part[-1] != "k"
            )

        normal = net.layer_norm(
            f"{block}.self_attn_layer_norm", hidden, c.hidden, epsilon=c.epsilon
        )
        query, key, value = (
            split_heads(net, project(f"self_attn.{part}", normal), c.heads, size) for part in "qkv"
        )
        mixed, made = attend_cached(net, heads, query, key, value, _pasts(layer, "decoder"), sight)
        presents += _presents(net, layer, made)
        hidden = net.op("Add", hidden, project("self_attn.out", mixed))
        normal = net.layer_norm(
            f"{block}.encoder_attn_layer_norm", hidden, c.hidden, epsilon=c.epsilon
        )
        query = split_heads(net, project("encoder_attn.q", normal), c.heads, size)
        mixed = _listen(net, heads, query, layer)
        hidden = net.op("Add", hidden, project("encoder_attn.out", mixed))
        hidden = whisper.feed_forward(net, c, block, hidden)
    hidden = net.layer_norm(f"{at}.layer_norm", _last(net, hidden), c.hidden, epsilon=c.epsilon)
    logits = net.tied(f"{at}.embed_tokens", hidden, c.vocabulary, c.hidden)
    return _decoder_graph(
        net, logits, presents, c.vocabulary, _Sizes(c.decoder_layers, c.heads, size, c.source)
    )


# --- T5 ------------------------------------------------------------------------------------------


def _t5_encoder(c: T5Config, net: Net) -> Graph:
    hidden = t5.encoded(c, net)

    def project(layer: int, part: str) -> str:
        at = f"decoder.block.{layer}.layer.1.EncDecAttention.{part[0]}"
        return net.linear(at, hidden, c.hidden, c.heads * c.head_size, bias=False)

    ids = ["batch", "source"]
    return net.graph(
        [("input_ids", INT64, ids), ("attention_mask", INT64, ids)],
        _given(net, c.decoder_layers, c.heads, c.head_size, "source", project),
        {"webpool.default.attention_mask": "ones_like:input_ids"},
    )


def _t5_decoder(c: T5Config, net: Net) -> Graph:
    width = c.heads * c.head_size
    hidden = net.embedding("shared", "input_ids", c.vocabulary, c.hidden)
    sight = cached.visible(net, "attention_mask", "position_ids")
    bias = net.op("Add", _t5_distances(c, net), sight.bias)
    sight = dataclasses.replace(sight, bias=bias)
    heads = Heads(c.heads, c.heads, c.head_size, 1.0)
    presents: list[str] = []
    for layer in range(c.decoder_layers):
        at = f"decoder.block.{layer}.layer"

        def project(part: str, x: str, where: str = at) -> str:
            inner, outer = (width, c.hidden) if part.endswith("o") else (c.hidden, width)
            return net.linear(f"{where}.{part}", x, inner, outer, bias=False)

        normal = net.rms_norm(f"{at}.0.layer_norm", hidden, c.hidden, epsilon=c.epsilon)
        query, key, value = (
            split_heads(net, project(f"0.SelfAttention.{part}", normal), c.heads, c.head_size)
            for part in "qkv"
        )
        mixed, made = attend_cached(net, heads, query, key, value, _pasts(layer, "decoder"), sight)
        presents += _presents(net, layer, made)
        hidden = net.op("Add", hidden, project("0.SelfAttention.o", mixed))
        normal = net.rms_norm(f"{at}.1.layer_norm", hidden, c.hidden, epsilon=c.epsilon)
        query = split_heads(net, project("1.EncDecAttention.q", normal), c.heads, c.head_size)
        mixed = _listen(net, heads, query, layer)
        hidden = net.op("Add", hidden, project("1.EncDecAttention.o", mixed))
        hidden = t5.feed_forward(net, c, f"{at}.2", hidden)
    hidden = net.rms_norm(
        "decoder.final_layer_norm", _last(net, hidden), c.hidden, epsilon=c.epsilon
    )
    logits = t5.logits_of(net, c, hidden)
    return _decoder_graph(
        net,
        logits,
        presents,
        c.vocabulary,
        _Sizes(c.decoder_layers, c.heads, c.head_size, "source"),
    )


def _t5_distances(c: T5Config, net: Net) -> str:
    """What distances add to the scores: [1, heads, sequence, past + sequence]; all layers share it."""
    behind = cached.distances(net, "attention_mask", "position_ids")
    ahead = net.op("Unsqueeze", net.op("Neg", behind), net.ints(0))
    return t5.relative_bias(net, c, "decoder", ahead, both_ways=False)


# --- both ----------------------------------------------------------------------------------------


def _pasts(layer: int, of: str) -> tuple[str, str]:
    key, value = (f"past_key_values.{layer}.{of}.{part}" for part in _PARTS)
    return key, value


def _presents(net: Net, layer: int, made: Sequence[str]) -> list[str]:
    return [
        net.give(name, f"present.{layer}.decoder.{part}")
        for name, part in zip(made, _PARTS, strict=True)
    ]


def _listen(net: Net, heads: Heads, query: str, layer: int) -> str:
    """Attention of the step's queries to the encoder's keys and values: [batch, sequence, width]."""
    key, value = (net.narrow(name) for name in _pasts(layer, "encoder"))
    query = net.op("Transpose", query, perm=[0, 2, 1, 3])
    scores = net.op("MatMul", query, net.op("Transpose", key, perm=[0, 1, 3, 2]))
    if heads.scale != 1:
        scores = net.op("Mul", scores, net.number(heads.scale))
    mixed = net.op("MatMul", net.op("Softmax", scores, axis=-1), value)
    mixed = net.op("Transpose", mixed, perm=[0, 2, 1, 3])
    return net.op("Reshape", mixed, net.ints(0, 0, heads.heads * heads.size))


def _given(
    net: Net,
    layers: int,
    heads: int,
    size: int,
    source: int | str,
    project: Callable[[int, str], str],
) -> list[Port]:
    """The encoder's outputs: keys and values of every layer of the decoder, by head."""
    outputs: list[Port] = []
    for layer in range(layers):
        for name, part in zip(_pasts(layer, "encoder"), _PARTS, strict=True):
            split = split_heads(net, project(layer, part), heads, size)
            turned = net.op("Transpose", split, perm=[0, 2, 1, 3])
            outputs.append((net.give(turned, name), FLOAT, ["batch", heads, source, size]))
    return outputs


def _last(net: Net, hidden: str) -> str:
    return net.op("Slice", hidden, net.ints(-1), net.ints(2**63 - 1), net.ints(1))


class _Sizes:
    """Of the caches of a decoder."""

    def __init__(self, layers: int, heads: int, size: int, source: int | str) -> None:
        self.layers, self.heads, self.size, self.source = layers, heads, size, source

    def ports(self, of: str, length: int | str) -> list[Port]:
        shape: Sequence[int | str] = ["batch", self.heads, length, self.size]
        return [(name, FLOAT, shape) for layer in range(self.layers) for name in _pasts(layer, of)]


def _decoder_graph(
    net: Net, logits: str, presents: Sequence[str], vocabulary: int, sizes: _Sizes
) -> Graph:
    ids = ["batch", "sequence"]
    inputs: list[Port] = [
        ("input_ids", INT64, ids),
        ("attention_mask", INT64, ["batch", "total"]),
        ("position_ids", INT64, ids),
        *sizes.ports("encoder", sizes.source),
        *sizes.ports("decoder", "past"),
    ]
    outputs: list[Port] = [(net.give(logits, "logits"), FLOAT, ["batch", 1, vocabulary])]
    shape: Sequence[int | str] = ["batch", sizes.heads, "total", sizes.size]
    outputs += [(name, FLOAT, shape) for name in presents]
    return net.graph(inputs, outputs)
