"""T5: text to text (Raffel et al. 2019, arXiv:1910.10683), as encoder and decoder.

Its attention adds a learned number to each score, by head and by the distance of key and query, and is not
scaled; its norm is RMSNorm. Version 1.1 has a gated feed-forward and an output layer of its own.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from inference.documents import Array
from inference.zoo.builder import FLOAT, INT64
from inference.zoo.examples import Examples
from inference.zoo.graph import Graph
from inference.zoo.layers.activations import gelu_tanh, relu
from inference.zoo.layers.attention import attend
from inference.zoo.layers.net import Net
from inference.zoo.layers.positions import causal, count, distances, padding
from inference.zoo.precision import FLOAT32, Precision
from inference.zoo.weights import Seeded, Weights


@dataclasses.dataclass(frozen=True)
class T5Config:
    """Sizes of a T5 model; the defaults are a toy.

    Attributes:
        buckets, distance: keys are told apart by distance in so many buckets, up to that distance.
        gated: version 1.1's feed-forward, gelu(x W₀) · (x W₁), in place of relu(x W).
        tied: the output layer shares the embedding's weights (version 1.0).
    """

    encoder_layers: int = 2
    decoder_layers: int = 2
    hidden: int = 32
    heads: int = 4
    head_size: int = 8
    intermediate: int = 64
    vocabulary: int = 100
    buckets: int = 32
    distance: int = 128
    gated: bool = True
    tied: bool = False
    epsilon: float = 1e-6


T5_SMALL = T5Config(6, 6, 512, 8, 64, 2048, 32_128, gated=False, tied=True)


def graphs(
    config: T5Config, precision: Precision = FLOAT32, weights: Weights | None = None
) -> dict[str, Graph]:
    """Both halves; the decoder has no cache and computes all positions.

    "encoder": input_ids, attention_mask int64[batch, source] → last_hidden_state float32[batch, source,
    hidden]; the mask has a declared default.
    "decoder": decoder_input_ids int64[batch, sequence], encoder_hidden_states float32[batch, source, hidden],
    attention_mask int64[batch, source], the encoder's → logits float32[batch, sequence, vocabulary].
    """
    source = weights or Seeded(0)
    return {
        "encoder": _encoder(config, Net("t5_encoder", precision, source)),
        "decoder": _decoder(config, Net("t5_decoder", precision, source)),
    }


def example_inputs(
    config: T5Config, seed: int, *, batch: int = 2, length: int = 8
) -> dict[str, Array]:
    """Inputs by name, but for what the encoder gives to the decoder; the second row is padded.

    The decoder gets half as many tokens as the encoder.
    """
    some = Examples(seed, batch)
    return {
        "input_ids": some.ids(length, config.vocabulary),
        "attention_mask": some.mask(length),
        "decoder_input_ids": some.ids(max(1, length // 2), config.vocabulary),
    }


def _encoder(c: T5Config, net: Net) -> Graph:
    ids = ["batch", "source"]
    return net.graph(
        [("input_ids", INT64, ids), ("attention_mask", INT64, ids)],
        [(net.give(encoded(c, net), "last_hidden_state"), FLOAT, [*ids, c.hidden])],
        {"webpool.default.attention_mask": "ones_like:input_ids"},
    )


def encoded(c: T5Config, net: Net) -> str:
    """What the encoder makes of input_ids and attention_mask: [batch, source, hidden]."""
    hidden = net.embedding("shared", "input_ids", c.vocabulary, c.hidden)
    near = _relative(net, c, "encoder", count(net, "input_ids"), both_ways=True)
    bias = net.op("Add", near, padding(net, "attention_mask"))
    for layer in range(c.encoder_layers):
        at = f"encoder.block.{layer}.layer"
        hidden = _attention(net, c, f"{at}.0", "SelfAttention", hidden, "", bias)
        hidden = feed_forward(net, c, f"{at}.1", hidden)
    return net.rms_norm("encoder.final_layer_norm", hidden, c.hidden, epsilon=c.epsilon)


def _decoder(c: T5Config, net: Net) -> Graph:
    ids = "decoder_input_ids"
    memory = net.narrow("encoder_hidden_states")
    places = count(net, ids)
    hidden = net.embedding("shared", ids, c.vocabulary, c.hidden)
    near = _relative(net, c, "decoder", places, both_ways=False)
    bias = net.op("Add", near, causal(net, places))
    absent = padding(net, "attention_mask")
    for layer in range(c.decoder_layers):
        at = f"decoder.block.{layer}.layer"
        hidden = _attention(net, c, f"{at}.0", "SelfAttention", hidden, "", bias)
        hidden = _attention(net, c, f"{at}.1", "EncDecAttention", hidden, memory, absent)
        hidden = feed_forward(net, c, f"{at}.2", hidden)
    hidden = net.rms_norm("decoder.final_layer_norm", hidden, c.hidden, epsilon=c.epsilon)
    logits = logits_of(net, c, hidden)
    return net.graph(
        [
            (ids, INT64, ["batch", "sequence"]),
            ("encoder_hidden_states", FLOAT, ["batch", "source", c.hidden]),
            ("attention_mask", INT64, ["batch", "source"]),
        ],
        [(net.give(logits, "logits"), FLOAT, ["batch", "sequence", c.vocabulary])],
    )


def logits_of(net: Net, c: T5Config, hidden: str) -> str:
    """The output layer."""
    if c.tied:
        hidden = net.op("Mul", hidden, net.number(c.hidden**-0.5))
        return net.tied("shared", hidden, c.vocabulary, c.hidden)
    return net.linear("lm_head", hidden, c.hidden, c.vocabulary, bias=False)


def _relative(net: Net, c: T5Config, half: str, places: str, *, both_ways: bool) -> str:
    """What distances add to the scores: [1, heads, sequence, sequence]; all layers share it."""
    return relative_bias(net, c, half, distances(net, places), both_ways=both_ways)


def relative_bias(net: Net, c: T5Config, half: str, ahead: str, *, both_ways: bool) -> str:
    """The same for distances of keys ahead of queries, int64[1, sequence, keys].

    Buckets are looked up: computed in the graph, a logarithm that rounds differently in another runtime
    would put a distance into another bucket.
    """
    table = net.weight(
        f"{half}_buckets", relative_buckets(c.buckets, c.distance, both_ways=both_ways)
    )
    far = net.scalar(c.distance, np.int64)
    away = net.op("Min", net.op("Max", ahead, net.scalar(-c.distance, np.int64)), far)
    bucket = net.op("Gather", table, net.op("Add", away, far))
    at = f"{half}.block.0.layer.0.SelfAttention.relative_attention_bias"
    return net.op("Transpose", net.embedding(at, bucket, c.buckets, c.heads), perm=[0, 3, 1, 2])


def _attention(
    net: Net, c: T5Config, at: str, kind: str, hidden: str, memory: str, bias: str
) -> str:
    """Norm, attention to itself or to `memory`, residual."""
    width = c.heads * c.head_size
    normal = net.rms_norm(f"{at}.layer_norm", hidden, c.hidden, epsilon=c.epsilon)
    query, key, value = (
        net.linear(f"{at}.{kind}.{part}", x, c.hidden, width, bias=False)
        for part, x in (("q", normal), ("k", memory or normal), ("v", memory or normal))
    )
    mixed = attend(net, query, key, value, heads=c.heads, size=c.head_size, scale=1, bias=bias)
    return net.op("Add", hidden, net.linear(f"{at}.{kind}.o", mixed, width, c.hidden, bias=False))


def feed_forward(net: Net, c: T5Config, at: str, hidden: str) -> str:
    normal = net.rms_norm(f"{at}.layer_norm", hidden, c.hidden, epsilon=c.epsilon)
    at = f"{at}.DenseReluDense"

    def widen(name: str) -> str:
        return net.linear(f"{at}.{name}", normal, c.hidden, c.intermediate, bias=False)

    if c.gated:
        inner = net.op("Mul", gelu_tanh(net, widen("wi_0")), widen("wi_1"))
    else:
        inner = relu(net, widen("wi"))
    return net.op(
        "Add", hidden, net.linear(f"{at}.wo", inner, c.intermediate, c.hidden, bias=False)
    )


def relative_buckets(
    buckets: int, distance: int, *, both_ways: bool
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The bucket of each distance (key minus query) from -distance to distance.

    Half of the buckets are for one distance each, the other half for ranges that grow as logarithms do. One
    way, keys ahead of the query share the bucket of no distance.
    """
    away = np.arange(-distance, distance + 1)
    ahead = np.zeros_like(away)
    if both_ways:
        buckets //= 2
        ahead = np.where(away > 0, buckets, 0)
        away = np.abs(away)
    else:
        away = np.maximum(-away, 0)
    exact = buckets // 2
    growth = np.log(np.maximum(away, 1) / exact) / np.log(distance / exact)
    # What is a whole number in exact arithmetic must not fall short of it by rounding.
    ranges = exact + np.floor(growth * (buckets - exact) + 1e-9).astype(np.int64)
    return (ahead + np.where(away < exact, away, np.minimum(ranges, buckets - 1))).astype(np.int64)
