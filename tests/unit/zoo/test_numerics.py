"""What the graphs compute, against a second spelling of the same model in numpy and float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from inference.zoo import bert, clip, llama, t5, vit, whisper
from inference.zoo.families import FAMILIES
from inference.zoo.weights import Recorded, Seeded
from tests.support.zoo import Array, run_components


def weights_of(module: object, config: object, seed: int) -> dict[str, Array]:
    recorded = Recorded(Seeded(seed))
    for graph in module.graphs(config, weights=recorded).values():  # type: ignore[attr-defined]
        graph.model()
    return {name: array.astype(np.float64) for name, array in recorded.arrays.items()}


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def rms(x: Array, weight: Array, epsilon: float) -> Array:
    return weight * x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)


# --- Llama ---


def rotated(x: Array, base: float) -> Array:
    """[length, heads, size], each pair of numbers (i, i + size/2) turned as a complex number."""
    length, _, size = x.shape
    angles = np.arange(length)[:, None] * base ** (-np.arange(0, size, 2) / size)
    turned = (x[..., : size // 2] + 1j * x[..., size // 2 :]) * np.exp(1j * angles)[:, None]
    return np.concatenate([turned.real, turned.imag], -1)


def llama_logits(c: llama.LlamaConfig, w: dict[str, Array], ids: Array) -> Array:
    """One row without padding: ids [length] → [length, vocabulary]."""
    size, each, length = c.head_size, c.heads // c.groups, len(ids)
    x = w["model.embed_tokens.weight"][ids]
    for layer in range(c.layers):
        at = f"model.layers.{layer}"
        normal = rms(x, w[f"{at}.input_layernorm.weight"], c.epsilon)
        q, k, v = (
            (normal @ w[f"{at}.self_attn.{p}_proj.weight"].T).reshape(length, -1, size)
            for p in "qkv"
        )
        q, k = rotated(q, c.base), rotated(k, c.base)
        mixed = np.zeros((length, c.heads, size))
        for head in range(c.heads):
            for at_token in range(length):
                keys = k[: at_token + 1, head // each]
                share = softmax(keys @ q[at_token, head] / np.sqrt(size))
                mixed[at_token, head] = share @ v[: at_token + 1, head // each]
        x = x + mixed.reshape(length, -1) @ w[f"{at}.self_attn.o_proj.weight"].T
        normal = rms(x, w[f"{at}.post_attention_layernorm.weight"], c.epsilon)
        gate, up = (normal @ w[f"{at}.mlp.{p}_proj.weight"].T for p in ("gate", "up"))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[f"{at}.mlp.down_proj.weight"].T
    return rms(x, w["model.norm.weight"], c.epsilon) @ w["lm_head.weight"].T


@pytest.mark.parametrize("operators", ["onnx", "microsoft"])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_llama(groups: int, operators: str, tmp_path: Path) -> None:
    config = llama.LlamaConfig(groups=groups, operators=operators)  # type: ignore[arg-type]
    inputs = FAMILIES["llama"].example_inputs(3, config, length=11)
    built = FAMILIES["llama"].build(tmp_path, seed=8, config=config)
    logits = run_components(built, inputs)["decoder", "logits"]
    weights = weights_of(llama, config, 8)
    for row, mask, got in zip(inputs["input_ids"], inputs["attention_mask"], logits, strict=True):
        wanted = llama_logits(config, weights, row[: mask.sum()])
        np.testing.assert_allclose(got[: mask.sum()], wanted, atol=2e-5 * np.abs(wanted).max())


# --- T5 ---


def bucket(distance: int, buckets: int, furthest: int, both_ways: bool) -> int:
    """Of a key that is so far ahead of its query; in whole numbers, without a logarithm."""
    first = 0
    if both_ways:
        buckets //= 2
        first = buckets if distance > 0 else 0
        away = abs(distance)
    else:
        away = max(-distance, 0)
    exact = buckets // 2
    if away < exact:
        return first + away
    rest = buckets - exact
    # the largest r < rest with away ≥ exact · (furthest / exact)^(r / rest)
    reached = [r for r in range(rest) if away**rest * exact**r >= exact**rest * furthest**r]
    return first + exact + max(reached)


@pytest.mark.parametrize("both_ways", [True, False])
@pytest.mark.parametrize(("buckets", "furthest"), [(32, 128), (8, 20)])
def test_distances_fall_into_the_right_buckets(
    buckets: int, furthest: int, both_ways: bool
) -> None:
    table = t5.relative_buckets(buckets, furthest, both_ways=both_ways)
    wanted = [bucket(d, buckets, furthest, both_ways) for d in range(-furthest, furthest + 1)]
    assert table.tolist() == wanted
    assert set(table) == set(range(buckets)) - ({buckets // 2} if both_ways else set())


def t5_half(
    c: t5.T5Config, w: dict[str, Array], half: str, ids: Array, memory: Array | None
) -> Array:
    """One row without padding: ids [length] → [length, hidden]."""
    length, x = len(ids), w["shared.weight"][ids]
    table = w[f"{half}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    near = np.full((c.heads, length, length), -np.inf)
    for query in range(length):
        for key in range(length if memory is None else query + 1):
            near[:, query, key] = table[bucket(key - query, c.buckets, c.distance, memory is None)]

    def attention(at: str, x: Array, source: Array, bias: Array | float) -> Array:
        q, k, v = (
            (s @ w[f"{at}.{p}.weight"].T).reshape(len(s), c.heads, -1).transpose(1, 0, 2)
            for p, s in (("q", x), ("k", source), ("v", source))
        )
        mixed = softmax(q @ k.transpose(0, 2, 1) + bias) @ v
        return mixed.transpose(1, 0, 2).reshape(len(x), -1) @ w[f"{at}.o.weight"].T

    for layer in range(c.decoder_layers if memory is not None else c.encoder_layers):
        at = f"{half}.block.{layer}.layer"
        normal = rms(x, w[f"{at}.0.layer_norm.weight"], c.epsilon)
        x = x + attention(f"{at}.0.SelfAttention", normal, normal, near)
        if memory is not None:
            normal = rms(x, w[f"{at}.1.layer_norm.weight"], c.epsilon)
            x = x + attention(f"{at}.1.EncDecAttention", normal, memory, 0.0)
        at = f"{at}.{1 if memory is None else 2}"
        normal = rms(x, w[f"{at}.layer_norm.weight"], c.epsilon)
        dense = f"{at}.DenseReluDense"
        if c.gated:
            gate = normal @ w[f"{dense}.wi_0.weight"].T
            gate = gate / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
            inner = gate * (normal @ w[f"{dense}.wi_1.weight"].T)
        else:
            inner = np.maximum(normal @ w[f"{dense}.wi.weight"].T, 0)
        x = x + inner @ w[f"{dense}.wo.weight"].T
    return rms(x, w[f"{half}.final_layer_norm.weight"], c.epsilon)


@pytest.mark.parametrize(("gated", "tied"), [(True, False), (False, True)])
def test_t5(gated: bool, tied: bool, tmp_path: Path) -> None:
    """With few buckets, so that the inputs reach every kind of them."""
    config = t5.T5Config(gated=gated, tied=tied, buckets=8, distance=12)
    inputs = FAMILIES["t5"].example_inputs(3, config, length=36)
    built = FAMILIES["t5"].build(tmp_path, seed=8, config=config)
    answers = run_components(built, inputs)
    w = weights_of(t5, config, 8)
    for row in range(2):
        length = inputs["attention_mask"][row].sum()
        memory = t5_half(config, w, "encoder", inputs["input_ids"][row, :length], None)
        got = answers["encoder", "last_hidden_state"][row, :length]
        np.testing.assert_allclose(got, memory, atol=2e-5 * np.abs(memory).max())
        hidden = t5_half(config, w, "decoder", inputs["decoder_input_ids"][row], memory)
        if tied:
            logits = hidden * config.hidden**-0.5 @ w["shared.weight"].T
        else:
            logits = hidden @ w["lm_head.weight"].T
        got = answers["decoder", "logits"][row]
        np.testing.assert_allclose(got, logits, atol=2e-5 * np.abs(logits).max())


# --- all of them ---


@pytest.mark.parametrize(
    ("module", "config", "parameters"),
    [
        # As published with each model; BERT's without its pooling layer of 590,592, which is not drawn.
        (bert, bert.BERT_BASE, 109_482_240 - 590_592),
        (vit, vit.VIT_BASE, 86_567_656),
        (clip, clip.CLIP_BASE_32, 151_277_313),
        (whisper, whisper.WHISPER_TINY, 37_760_640),
        (t5, t5.T5_SMALL, 60_506_624),
        (llama, llama.LLAMA_2_7B, 6_738_415_616),
        (llama, llama.LLAMA_2_70B, 68_976_648_192),
    ],
)
def test_published_sizes_have_the_published_number_of_parameters(
    module: object, config: object, parameters: int
) -> None:
    sizes: dict[str, int] = {}
    for graph in module.graphs(config).values():  # type: ignore[attr-defined]
        for tensor in graph.outline().graph.initializer:
            fixed = tensor.name.startswith("rotary_")  # cosines and sines are no parameters
            if tensor.data_location == onnx.TensorProto.EXTERNAL and not fixed:
                sizes[tensor.name] = int(np.prod(tensor.dims, dtype=object))
    assert sum(sizes.values()) == parameters
