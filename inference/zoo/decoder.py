"""Decoders with a cache: Llama (arXiv:2302.13971), Qwen 2 and 3 (arXiv:2407.10671, arXiv:2505.09388) and
Gemma 3 (arXiv:2503.19786), drawn from one config.

Names are those of Optimum's exports: input_ids, attention_mask, position_ids and
past_key_values.N.key|value → logits, present.N.key|value. Weights have the names of Hugging Face's
checkpoints. A norm multiplies with its weight as it is: Gemma's are given with the one added.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from inference.documents import Array
from inference.zoo.builder import FLOAT, INT64
from inference.zoo.graph import Graph, Port
from inference.zoo.layers.activations import gelu_tanh, silu
from inference.zoo.layers.attention import split_heads
from inference.zoo.layers.cached import Heads, Sight, attend_cached, visible
from inference.zoo.layers.net import Net
from inference.zoo.layers.rotary import looked_up, rates, rotate, tables
from inference.zoo.precision import FLOAT32, Precision
from inference.zoo.weights import Seeded, Weights


@dataclasses.dataclass(frozen=True)
class Rotation:
    """How positions turn queries and keys.

    Attributes:
        base: of the rates of the pairs.
        factor: positions are divided by it.
        llama3: of Llama 3's scaling of slow pairs: factor, low and high frequency factor, and the
            context it was trained with.
        divisors: of each pair's rate, where a checkpoint brings them.
    """

    base: float = 10_000.0
    factor: float = 1.0
    llama3: tuple[float, float, float, int] | None = None
    divisors: tuple[float, ...] = ()

    def rates(self, size: int) -> Array:
        """Angle per position of each pair: float32[size / 2]."""
        turning = rates(size, self.base) / np.float32(self.factor)
        if self.divisors:
            return turning / np.array(self.divisors, np.float32)
        if self.llama3 is None:
            return turning
        factor, low, high, trained = self.llama3
        turns = trained * turning / (2 * np.pi)  # of each pair within the trained context
        smooth = np.clip((turns - low) / (high - low), 0, 1)
        return ((1 - smooth) * turning / factor + smooth * turning).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Sizes and ways of a decoder; the defaults are a toy Llama.

    Attributes:
        groups: key/value heads, each shared by heads / groups query heads.
        context: rows of the rotary tables, and so the most positions.
        tied: the head shares the weights of the embedding.
        biases: queries, keys and values have biases (Qwen 2).
        normed_heads: queries and keys are normalised per head (Qwen 3, Gemma 3).
        normed_outputs: what attention and feed-forward add is normalised, too (Gemma 3).
        embedding_scale: what embeddings are multiplied with.
        windows: per layer how many positions it sees, 0 for all; empty: all layers see all.
        local_rotation: of the layers with a window, where it is another.
        score: what scores are multiplied with; 0: head_size ** -0.5.
    """

    layers: int = 4
    hidden: int = 64
    heads: int = 4
    groups: int = 2
    head_size: int = 16
    intermediate: int = 96
    vocabulary: int = 512
    context: int = 256
    epsilon: float = 1e-5
    rotation: Rotation = Rotation()
    activation: Literal["silu", "gelu_tanh"] = "silu"
    tied: bool = True
    biases: bool = False
    normed_heads: bool = False
    normed_outputs: bool = False
    embedding_scale: float = 1.0
    windows: tuple[int, ...] = ()
    local_rotation: Rotation | None = None
    score: float = 0.0

    def window(self, layer: int) -> int:
        return self.windows[layer] if self.windows else 0


def graph(
    config: DecoderConfig, precision: Precision = FLOAT32, weights: Weights | None = None
) -> Graph:
    """The decoder.

    input_ids, position_ids int64[batch, sequence], attention_mask int64[batch, past + sequence],
    logit_rows int64[rows], of which the size counts, past float32[batch, groups, past, head size] → logits
    float32[batch, rows, vocabulary] of the last positions, present like past with the step's positions.
    """
    net = Net("decoder", precision, weights or Seeded(0))
    return _Drawing(net, config).graph()


def tiny(seed: int = 0, *, context: int = DecoderConfig.context) -> Graph:
    """A random Llama of 4 layers, hidden size 64, vocabulary 512: a megabyte."""
    return graph(DecoderConfig(tied=False, context=context), weights=Seeded(seed))


class _Drawing:
    def __init__(self, net: Net, config: DecoderConfig) -> None:
        self.net, self.c = net, config
        score = config.score or config.head_size**-0.5
        self.heads = Heads(config.heads, config.groups, config.head_size, score)
        self.sights: dict[int, Sight] = {}  # by window
        self.rotations: dict[str, tuple[str, str]] = {}

    def graph(self) -> Graph:
        net, c = self.net, self.c
        hidden = net.embedding("model.embed_tokens", "input_ids", c.vocabulary, c.hidden)
        if c.embedding_scale != 1:
            hidden = net.op("Mul", hidden, net.number(c.embedding_scale))
        presents: list[str] = []
        for layer in range(c.layers):
            hidden, present = self._layer(layer, hidden)
            presents += present
        first = net.op("Neg", net.op("Shape", "logit_rows"))
        last = net.op("Slice", hidden, first, net.ints(2**63 - 1), net.ints(1))
        last = net.rms_norm("model.norm", last, c.hidden, epsilon=c.epsilon)
        if c.tied:
            logits = net.tied("model.embed_tokens", last, c.vocabulary, c.hidden)
        else:
            logits = net.linear("lm_head", last, c.hidden, c.vocabulary, bias=False)
        return net.graph(*self._ports(net.give(logits, "logits"), presents))

    def _ports(self, logits: str, presents: list[str]) -> tuple[list[Port], list[Port]]:
        c = self.c
        ids = ["batch", "sequence"]
        inputs: list[Port] = [
            ("input_ids", INT64, ids),
            ("attention_mask", INT64, ["batch", "total"]),
            ("position_ids", INT64, ids),
            ("logit_rows", INT64, ["rows"]),
        ]
        states = [f"{layer}.{what}" for layer in range(c.layers) for what in ("key", "value")]
        inputs += [
            (f"past_key_values.{state}", FLOAT, ["batch", c.groups, "past", c.head_size])
            for state in states
        ]
        outputs: list[Port] = [(logits, FLOAT, ["batch", "rows", c.vocabulary])]
        outputs += [(name, FLOAT, ["batch", c.groups, "total", c.head_size]) for name in presents]
        return inputs, outputs

    def _layer(self, layer: int, hidden: str) -> tuple[str, list[str]]:
        net, c = self.net, self.c
        at = f"model.layers.{layer}"
        normal = self._norm(f"{at}.input_layernorm", hidden)
        mixed, present = self._attention(layer, f"{at}.self_attn", normal)
        before = f"{at}.post_attention_layernorm"
        if c.normed_outputs:
            mixed = self._norm(before, mixed)
            before = f"{at}.pre_feedforward_layernorm"
        hidden = net.op("Add", hidden, mixed)
        made = self._feed_forward(f"{at}.mlp", self._norm(before, hidden))
        if c.normed_outputs:
            made = self._norm(f"{at}.post_feedforward_layernorm", made)
        return net.op("Add", hidden, made), present

    def _attention(self, layer: int, at: str, normal: str) -> tuple[str, list[str]]:
        net, c = self.net, self.c
        query = self._projected(f"{at}.q_proj", normal, c.heads)
        key = self._projected(f"{at}.k_proj", normal, c.groups)
        value = self._projected(f"{at}.v_proj", normal, c.groups)
        if c.normed_heads:
            query = self._norm(f"{at}.q_norm", query, c.head_size)
            key = self._norm(f"{at}.k_norm", key, c.head_size)
        rotation = self._rotation(layer)
        query, key = (rotate(net, x, rotation, c.head_size) for x in (query, key))
        past = (f"past_key_values.{layer}.key", f"past_key_values.{layer}.value")
        mixed, made = attend_cached(net, self.heads, query, key, value, past, self._sight(layer))
        present = [
            net.give(name, f"present.{layer}.{what}")
            for name, what in zip(made, ("key", "value"), strict=True)
        ]
        width = c.heads * c.head_size
        return net.linear(f"{at}.o_proj", mixed, width, c.hidden, bias=False), present

    def _projected(self, name: str, normal: str, heads: int) -> str:
        net, c = self.net, self.c
        made = net.linear(name, normal, c.hidden, heads * c.head_size, bias=c.biases)
        return split_heads(net, made, heads, c.head_size)

    def _feed_forward(self, at: str, normal: str) -> str:
        net, c = self.net, self.c
        activate = silu if c.activation == "silu" else gelu_tanh
        gate = net.linear(f"{at}.gate_proj", normal, c.hidden, c.intermediate, bias=False)
        up = net.linear(f"{at}.up_proj", normal, c.hidden, c.intermediate, bias=False)
        inner = net.op("Mul", activate(net, gate), up)
        return net.linear(f"{at}.down_proj", inner, c.intermediate, c.hidden, bias=False)

    def _norm(self, name: str, x: str, width: int = 0) -> str:
        return self.net.rms_norm(name, x, width or self.c.hidden, epsilon=self.c.epsilon)

    def _sight(self, layer: int) -> Sight:
        window = self.c.window(layer)
        if window not in self.sights:
            self.sights[window] = visible(self.net, "attention_mask", "position_ids", window)
        return self.sights[window]

    def _rotation(self, layer: int) -> tuple[str, str]:
        c = self.c
        local = c.local_rotation if c.window(layer) else None
        suffix = "_local" if local else ""
        if suffix not in self.rotations:
            how = local or c.rotation
            pair = tables(self.net, c.context, c.head_size, lambda: how.rates(c.head_size), suffix)
            self.rotations[suffix] = looked_up(self.net, pair, "position_ids")
        return self.rotations[suffix]
