"""BERT-style encoders as ONNX, from a config and weights (Devlin et al. 2018, arXiv:1810.04805)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inference.zoo.builder import FLOAT, INT64, GraphBuilder

Weights = Mapping[str, np.ndarray[Any, Any]]


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


def random_weights(config: BertConfig, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Seeded weights under the names that Hugging Face's BERT checkpoints use."""
    random = np.random.default_rng(seed)
    c = config

    def normal(*shape: int) -> np.ndarray[Any, Any]:
        return (random.standard_normal(shape) * 0.2).astype(np.float32)

    def norm(prefix: str) -> dict[str, np.ndarray[Any, Any]]:
        return {f"{prefix}.weight": 1 + normal(c.hidden), f"{prefix}.bias": normal(c.hidden)}

    weights = {
        "embeddings.word_embeddings.weight": normal(c.vocabulary, c.hidden),
        "embeddings.position_embeddings.weight": normal(c.positions, c.hidden),
        "embeddings.token_type_embeddings.weight": normal(c.types, c.hidden),
        **norm("embeddings.LayerNorm"),
    }
    for i in range(c.layers):
        at = f"encoder.layer.{i}"
        shapes = {
            "attention.self.query": (c.hidden, c.hidden),
            "attention.self.key": (c.hidden, c.hidden),
            "attention.self.value": (c.hidden, c.hidden),
            "attention.output.dense": (c.hidden, c.hidden),
            "intermediate.dense": (c.intermediate, c.hidden),
            "output.dense": (c.hidden, c.intermediate),
        }
        for name, shape in shapes.items():
            weights[f"{at}.{name}.weight"] = normal(*shape)
            weights[f"{at}.{name}.bias"] = normal(shape[0])
        weights |= norm(f"{at}.attention.output.LayerNorm") | norm(f"{at}.output.LayerNorm")
    return weights


def build(path: Path, config: BertConfig, weights: Weights) -> Path:
    """Write the encoder with mean pooling and L2 normalisation on top.

    Inputs input_ids, attention_mask, token_type_ids: int64[batch, sequence]; the latter two have a
    declared default. Outputs last_hidden_state float32[batch, sequence, hidden] and sentence_embedding
    float32[batch, hidden].
    """
    graph = _Encoder(config, weights)
    hidden = graph.embeddings()
    bias = graph.mask_bias()
    for layer in range(config.layers):
        last = layer == config.layers - 1
        hidden = graph.layer(layer, hidden, bias, output="last_hidden_state" if last else "")
    graph.pool(hidden)
    ids = ["batch", "sequence"]
    return graph.g.save(
        path,
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


class _Encoder:
    """The graph of one encoder, part by part."""

    def __init__(self, config: BertConfig, weights: Weights) -> None:
        self.c, self.w, self.g = config, weights, GraphBuilder("bert")

    def embeddings(self) -> str:
        g = self.g
        words = g.op("Gather", self._table("word"), "input_ids")
        types = g.op("Gather", self._table("token_type"), "token_type_ids")
        # 0, 1, 2 … for every row, counted so that [batch, sequence] stays known to shape inference:
        # then the runtime fuses the same nodes in the whole graph as in its shards.
        zeros = g.op("Mul", "input_ids", g.scalar(0, np.int64))
        ones = g.op("Add", zeros, g.scalar(1, np.int64))
        places = g.op("CumSum", ones, g.scalar(1, np.int64), exclusive=1)
        positions = g.op("Gather", self._table("position"), places)
        total = g.op("Add", g.op("Add", words, types), positions)
        return self._norm("embeddings.LayerNorm", total)

    def mask_bias(self) -> str:
        """0 where a token counts and a large negative number where it is padding: [batch, 1, 1, sequence]."""
        g = self.g
        mask = g.op("Cast", "attention_mask", output="mask_float", to=FLOAT)
        absent = g.op("Sub", g.scalar(1.0), mask)
        return g.op("Unsqueeze", g.op("Mul", absent, g.scalar(-10000.0)), g.ints(1, 2))

    def layer(self, index: int, hidden: str, bias: str, *, output: str) -> str:
        at = f"encoder.layer.{index}"
        attended = self._attention(f"{at}.attention.self", hidden, bias)
        projected = self._dense(f"{at}.attention.output.dense", attended)
        hidden = self._norm(f"{at}.attention.output.LayerNorm", self.g.op("Add", projected, hidden))
        inner = self._gelu(self._dense(f"{at}.intermediate.dense", hidden))
        outer = self._dense(f"{at}.output.dense", inner)
        return self._norm(f"{at}.output.LayerNorm", self.g.op("Add", outer, hidden), output=output)

    def pool(self, hidden: str) -> None:
        g = self.g
        mask = g.op("Unsqueeze", "mask_float", g.ints(2))
        total = g.op("ReduceSum", g.op("Mul", hidden, mask), g.ints(1), keepdims=0)
        count = g.op("Max", g.op("ReduceSum", mask, g.ints(1), keepdims=0), g.scalar(1e-9))
        mean = g.op("Div", total, count)
        norm = g.op("ReduceL2", mean, axes=[1], keepdims=1)
        g.op("Div", mean, g.op("Max", norm, g.scalar(1e-12)), output="sentence_embedding")

    def _attention(self, at: str, hidden: str, bias: str) -> str:
        g, c = self.g, self.c
        heads = g.ints(0, 0, c.heads, c.head_size)
        query, key, value = (
            g.op("Reshape", self._dense(f"{at}.{part}", hidden), heads)
            for part in ("query", "key", "value")
        )
        query = g.op("Transpose", query, perm=[0, 2, 1, 3])
        key = g.op("Transpose", key, perm=[0, 2, 3, 1])
        value = g.op("Transpose", value, perm=[0, 2, 1, 3])
        scores = g.op("Mul", g.op("MatMul", query, key), g.scalar(c.head_size**-0.5))
        attention = g.op("Softmax", g.op("Add", scores, bias), axis=-1)
        mixed = g.op("Transpose", g.op("MatMul", attention, value), perm=[0, 2, 1, 3])
        return g.op("Reshape", mixed, g.ints(0, 0, c.hidden))

    def _gelu(self, x: str) -> str:
        """x/2 · (1 + erf(x/√2))."""
        g = self.g
        erf = g.op("Erf", g.op("Div", x, g.scalar(2**0.5)))
        return g.op("Mul", g.op("Mul", x, g.op("Add", erf, g.scalar(1.0))), g.scalar(0.5))

    def _dense(self, at: str, x: str) -> str:
        matrix = self.g.weight(f"{at}.weight", np.ascontiguousarray(self.w[f"{at}.weight"].T))
        bias = self.g.weight(f"{at}.bias", self.w[f"{at}.bias"])
        return self.g.op("Add", self.g.op("MatMul", x, matrix), bias)

    def _norm(self, at: str, x: str, *, output: str = "") -> str:
        scale = self.g.weight(f"{at}.weight", self.w[f"{at}.weight"])
        bias = self.g.weight(f"{at}.bias", self.w[f"{at}.bias"])
        return self.g.op(
            "LayerNormalization", x, scale, bias, output=output, axis=-1, epsilon=self.c.epsilon
        )

    def _table(self, name: str) -> str:
        key = f"embeddings.{name}_embeddings.weight"
        return self.g.weight(key, self.w[key])
