"""Llama-style decoders (Touvron et al. 2023, arXiv:2302.13971 and 2307.09288), without a cache.

`inference/zoo/decoder.py` draws them with one.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from onnx import TensorProto

from inference.documents import Array
from inference.zoo.builder import FLOAT, INT64, MICROSOFT
from inference.zoo.examples import Examples
from inference.zoo.graph import Graph
from inference.zoo.layers.activations import silu
from inference.zoo.layers.attention import attend_split, split_heads
from inference.zoo.layers.net import Net
from inference.zoo.layers.positions import causal, count, padding
from inference.zoo.layers.rotary import looked_up, rates, rotate, tables
from inference.zoo.precision import FLOAT32, Precision
from inference.zoo.weights import Seeded, Weights


@dataclasses.dataclass(frozen=True)
class LlamaConfig:
    """Sizes of a decoder; the defaults are a toy.

    Attributes:
        groups: key/value heads, each shared by heads / groups query heads (Ainslie et al. 2023,
            arXiv:2305.13245).
        positions: rows of the rotary tables, and so the longest sequence.
        operators: "microsoft" uses com.microsoft's GroupQueryAttention (rotation inside) and
            SkipSimplifiedLayerNormalization; padding must then be on the right.
    """

    layers: int = 2
    hidden: int = 64
    heads: int = 4
    groups: int = 2
    intermediate: int = 96
    vocabulary: int = 100
    positions: int = 64
    base: float = 10_000.0
    epsilon: float = 1e-5
    operators: Literal["onnx", "microsoft"] = "onnx"

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads


LLAMA_2_7B = LlamaConfig(32, 4096, 32, 32, 11_008, 32_000, 4096)
LLAMA_2_70B = LlamaConfig(80, 8192, 64, 8, 28_672, 32_000, 4096)


def graphs(
    config: LlamaConfig, precision: Precision = FLOAT32, weights: Weights | None = None
) -> dict[str, Graph]:
    """The decoder as "decoder".

    input_ids, attention_mask int64[batch, sequence] → logits float32[batch, sequence, vocabulary]; the mask
    has a declared default. Positions count from each row's start, padding included, which rotary positions
    do not mind: only differences count.
    """
    net = Net("llama", precision, weights or Seeded(0))
    hidden = net.embedding("model.embed_tokens", "input_ids", config.vocabulary, config.hidden)
    draw = _microsoft if config.operators == "microsoft" else _plain
    normal = draw(net, config, hidden)
    logits = net.linear("lm_head", normal, config.hidden, config.vocabulary, bias=False)
    ids = ["batch", "sequence"]
    graph = net.graph(
        [("input_ids", INT64, ids), ("attention_mask", INT64, ids)],
        [(net.give(logits, "logits"), FLOAT, [*ids, config.vocabulary])],
        {"webpool.default.attention_mask": "ones_like:input_ids"},
    )
    return {"decoder": graph}


def example_inputs(
    config: LlamaConfig, seed: int, *, batch: int = 2, length: int = 8
) -> dict[str, Array]:
    """Inputs by name; the second row is padded."""
    some = Examples(seed, batch)
    return {
        "input_ids": some.ids(length, config.vocabulary),
        "attention_mask": some.mask(length),
    }


def _projections(net: Net, c: LlamaConfig, at: str, normal: str) -> list[str]:
    widths = {
        "q_proj": c.hidden,
        "k_proj": c.groups * c.head_size,
        "v_proj": c.groups * c.head_size,
    }
    return [
        net.linear(f"{at}.self_attn.{name}", normal, c.hidden, width, bias=False)
        for name, width in widths.items()
    ]


def _output(net: Net, c: LlamaConfig, at: str, mixed: str) -> str:
    return net.linear(f"{at}.self_attn.o_proj", mixed, c.hidden, c.hidden, bias=False)


def _feed_forward(net: Net, c: LlamaConfig, at: str, normal: str) -> str:
    gate = net.linear(f"{at}.mlp.gate_proj", normal, c.hidden, c.intermediate, bias=False)
    up = net.linear(f"{at}.mlp.up_proj", normal, c.hidden, c.intermediate, bias=False)
    inner = net.op("Mul", silu(net, gate), up)
    return net.linear(f"{at}.mlp.down_proj", inner, c.intermediate, c.hidden, bias=False)


# --- plain operators -----------------------------------------------------------------------------


def _plain(net: Net, c: LlamaConfig, hidden: str) -> str:
    places = count(net, "input_ids")
    bias = net.op("Add", causal(net, places), padding(net, "attention_mask"))
    rotation = looked_up(net, _tables(net, c), places)
    for layer in range(c.layers):
        at = f"model.layers.{layer}"
        normal = net.rms_norm(f"{at}.input_layernorm", hidden, c.hidden, epsilon=c.epsilon)
        query, key, value = _projections(net, c, at, normal)
        query = rotate(net, split_heads(net, query, c.heads, c.head_size), rotation, c.head_size)
        key = rotate(net, split_heads(net, key, c.groups, c.head_size), rotation, c.head_size)
        value = split_heads(net, value, c.groups, c.head_size)
        mixed = attend_split(
            net, query, _repeat(net, c, key), _repeat(net, c, value),
            heads=c.heads, size=c.head_size, scale=c.head_size**-0.5, bias=bias,
        )  # fmt: skip
        hidden = net.op("Add", hidden, _output(net, c, at, mixed))
        normal = net.rms_norm(f"{at}.post_attention_layernorm", hidden, c.hidden, epsilon=c.epsilon)
        hidden = net.op("Add", hidden, _feed_forward(net, c, at, normal))
    return net.rms_norm("model.norm", hidden, c.hidden, epsilon=c.epsilon)


def _repeat(net: Net, c: LlamaConfig, x: str) -> str:
    """Each key/value head once per query head: [batch, sequence, groups, size] → [.., heads, size]."""
    each = c.heads // c.groups
    if each == 1:
        return x
    wide = net.op("Expand", net.op("Unsqueeze", x, net.ints(3)), net.ints(1, 1, 1, each, 1))
    return net.op("Reshape", wide, net.ints(0, 0, c.heads, c.head_size))


# --- onnxruntime's own operators -----------------------------------------------------------------


def _microsoft(net: Net, c: LlamaConfig, hidden: str) -> str:
    lengths = _lengths(net)
    tables = _tables(net, c)
    # The first norm has nothing to skip; onnxruntime fuses it by itself.
    normal = net.rms_norm("model.layers.0.input_layernorm", hidden, c.hidden, epsilon=c.epsilon)
    for layer in range(c.layers):
        at = f"model.layers.{layer}"
        mixed, _, _ = net.ops(
            "GroupQueryAttention", *_projections(net, c, at, normal), "", "", *lengths, *tables,
            outputs=[f"{at}.attention", f"{at}.present_key", f"{at}.present_value"],
            domain=MICROSOFT, num_heads=c.heads, kv_num_heads=c.groups, do_rotary=1,
        )  # fmt: skip
        name = f"{at}.post_attention_layernorm"
        normal, hidden = _skip_norm(net, c, name, hidden, _output(net, c, at, mixed))
        last = layer == c.layers - 1
        name = "model.norm" if last else f"model.layers.{layer + 1}.input_layernorm"
        normal, hidden = _skip_norm(
            net, c, name, hidden, _feed_forward(net, c, at, normal), last=last
        )
    return normal


def _skip_norm(
    net: Net, c: LlamaConfig, name: str, hidden: str, more: str, *, last: bool = False
) -> tuple[str, str]:
    """The norm of the sum, and the sum unless it is the last."""
    outputs = [f"{name}.output"] if last else [f"{name}.output", "", "", f"{name}.sum"]
    made = net.ops(
        "SkipSimplifiedLayerNormalization", hidden, more, net.rms_weight(name, c.hidden),
        outputs=outputs, domain=MICROSOFT, epsilon=c.epsilon,
    )  # fmt: skip
    return made[0], made[-1]


def _lengths(net: Net) -> tuple[str, str]:
    """Each row's last position int32[batch], and the padded length int32[]."""
    total = net.op("ReduceSum", "attention_mask", net.ints(1), keepdims=0)
    last = net.op("Sub", total, net.scalar(1, np.int64))
    length = net.op("Gather", net.op("Shape", "attention_mask"), net.scalar(1, np.int64))
    return (
        net.op("Cast", last, to=TensorProto.INT32),
        net.op("Cast", length, to=TensorProto.INT32),
    )


def _tables(net: Net, c: LlamaConfig) -> list[str]:
    """Cosines and sines by position: [positions, head size / 2]."""
    return tables(net, c.positions, c.head_size, lambda: rates(c.head_size, c.base))
