"""BERT-style encoders as ONNX, from a config and weights (Devlin et al. 2018, arXiv:1810.04805)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from inference.documents import Array
from inference.zoo.builder import FLOAT, INT64
from inference.zoo.examples import Examples
from inference.zoo.graph import Graph
from inference.zoo.layers.activations import gelu
from inference.zoo.layers.attention import attend
from inference.zoo.layers.net import Net
from inference.zoo.layers.positions import count, padding
from inference.zoo.precision import FLOAT32, Precision
from inference.zoo.weights import Given, Recorded, Seeded, Weights


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Sizes of a BERT encoder; the defaults are a toy."""

    layers: int = 2
    hidden: int = 32
    heads: int = 4
    intermediate: int = 64
    vocabulary: int = 100
    positions: int = 64
    types: int = 2
    epsilon: float = 1e-12

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads


BERT_BASE = BertConfig(12, 768, 12, 3072, 30_522, 512)


def random_weights(config: BertConfig, seed: int) -> dict[str, Array]:
    """Seeded weights under the names that Hugging Face's BERT checkpoints use."""
    recorded = Recorded(Seeded(seed))
    graphs(config, weights=recorded)["encoder"].model()
    return recorded.arrays


def build(
    path: Path,
    config: BertConfig,
    weights: Mapping[str, Array],
    precision: Precision = FLOAT32,
) -> Path:
    """Write the encoder with the weights of a checkpoint; see `graphs`."""
    return graphs(config, precision, Given(weights))["encoder"].save(path)


def graphs(
    config: BertConfig, precision: Precision = FLOAT32, weights: Weights | None = None
) -> dict[str, Graph]:
    """The encoder with mean pooling and L2 normalisation on top, as "encoder".

    Inputs input_ids, attention_mask, token_type_ids: int64[batch, sequence]; the latter two have a
    declared default. Outputs last_hidden_state float32[batch, sequence, hidden] and sentence_embedding
    float32[batch, hidden].
    """
    net = Net("bert", precision, weights or Seeded(0))
    hidden = _embeddings(net, config)
    bias = padding(net, "attention_mask")
    for layer in range(config.layers):
        hidden = _layer(net, config, f"encoder.layer.{layer}", hidden, bias)
    _pool(net, net.give(hidden, "last_hidden_state"))
    ids = ["batch", "sequence"]
    graph = net.graph(
        [("input_ids", INT64, ids), ("attention_mask", INT64, ids), ("token_type_ids", INT64, ids)],
        [
            ("last_hidden_state", FLOAT, [*ids, config.hidden]),
            ("sentence_embedding", FLOAT, ["batch", config.hidden]),
        ],
        {
            "webpool.default.attention_mask": "ones_like:input_ids",
            "webpool.default.token_type_ids": "zeros_like:input_ids",
        },
    )
    return {"encoder": graph}


def example_inputs(
    config: BertConfig, seed: int, *, batch: int = 2, length: int = 8
) -> dict[str, Array]:
    """Inputs by name; the second row is padded."""
    some = Examples(seed, batch)
    return {
        "input_ids": some.ids(length, config.vocabulary),
        "attention_mask": some.mask(length),
        "token_type_ids": some.ids(length, config.types + 1) - 1,
    }


def _embeddings(net: Net, c: BertConfig) -> str:
    words = net.embedding("embeddings.word_embeddings", "input_ids", c.vocabulary, c.hidden)
    types = net.embedding("embeddings.token_type_embeddings", "token_type_ids", c.types, c.hidden)
    places = count(net, "input_ids")
    positions = net.embedding("embeddings.position_embeddings", places, c.positions, c.hidden)
    total = net.op("Add", net.op("Add", words, types), positions)
    return net.layer_norm("embeddings.LayerNorm", total, c.hidden, epsilon=c.epsilon)


def _layer(net: Net, c: BertConfig, at: str, hidden: str, bias: str) -> str:
    query, key, value = (
        net.linear(f"{at}.attention.self.{part}", hidden, c.hidden, c.hidden)
        for part in ("query", "key", "value")
    )
    attended = attend(
        net, query, key, value,
        heads=c.heads, size=c.head_size, scale=c.head_size**-0.5, bias=bias,
    )  # fmt: skip
    projected = net.linear(f"{at}.attention.output.dense", attended, c.hidden, c.hidden)
    hidden = net.op("Add", projected, hidden)
    hidden = net.layer_norm(f"{at}.attention.output.LayerNorm", hidden, c.hidden, epsilon=c.epsilon)
    inner = gelu(net, net.linear(f"{at}.intermediate.dense", hidden, c.hidden, c.intermediate))
    outer = net.linear(f"{at}.output.dense", inner, c.intermediate, c.hidden)
    hidden = net.op("Add", outer, hidden)
    return net.layer_norm(f"{at}.output.LayerNorm", hidden, c.hidden, epsilon=c.epsilon)


def _pool(net: Net, hidden: str) -> None:
    """The mean of the tokens that count, at length 1; in float32."""
    mask = net.op("Unsqueeze", net.op("Cast", "attention_mask", to=FLOAT), net.ints(2))
    total = net.op("ReduceSum", net.op("Mul", hidden, mask), net.ints(1), keepdims=0)
    number = net.op("ReduceSum", mask, net.ints(1), keepdims=0)
    mean = net.op("Div", total, net.op("Max", number, net.scalar(1e-9)))
    norm = net.op("ReduceL2", mean, axes=[1], keepdims=1)
    net.op("Div", mean, net.op("Max", norm, net.scalar(1e-12)), output="sentence_embedding")
