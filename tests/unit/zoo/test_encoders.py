"""ViT, CLIP and Whisper against a second spelling of the same models in numpy and float64.

BERT is compared with a published model in tests/unit/graph/test_cut.py.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from inference.zoo import clip, vit, whisper
from inference.zoo.families import FAMILIES
from tests.support.zoo import Array, run_components
from tests.unit.zoo.test_numerics import softmax, weights_of

Weights = dict[str, Array]


def dense(w: Weights, at: str, x: Array) -> Array:
    return x @ w[f"{at}.weight"].T + w.get(f"{at}.bias", 0.0)


def norm(w: Weights, at: str, x: Array, epsilon: float) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return scaled * w[f"{at}.weight"] + w[f"{at}.bias"]


def gelu(x: Array) -> Array:
    return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def attention(
    w: Weights, names: list[str], x: Array, memory: Array, heads: int, *, causal: bool = False
) -> Array:
    """One row: x [length, width]; `names` of the query, key, value and output layers."""
    q, k, v = (dense(w, n, s) for n, s in zip(names, (x, memory, memory), strict=False))
    size = x.shape[1] // heads
    mixed = np.zeros_like(x)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = q[:, part] @ k[:, part].T / math.sqrt(size)
        if causal:
            scores[np.triu_indices(len(x), 1)] = -np.inf
        mixed[:, part] = softmax(scores) @ v[:, part]
    return dense(w, names[3], mixed)


def projections(at: str) -> list[str]:
    return [f"{at}.{part}_proj" for part in ("q", "k", "v", "out")]


def patches(w: Weights, at: str, image: Array, size: int) -> Array:
    """[3, height, width] → one row of numbers per patch."""
    kernel = w[f"{at}.weight"]
    rows = [
        (image[:, top : top + size, left : left + size] * kernel).sum((1, 2, 3))
        for top in range(0, image.shape[1], size)
        for left in range(0, image.shape[2], size)
    ]
    return np.array(rows) + w.get(f"{at}.bias", 0.0)


def assert_equal(got: Array, wanted: Array) -> None:
    np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


def test_vit(tmp_path: Path) -> None:
    family, c = FAMILIES["vit"], vit.VitConfig(patch=8)
    w = weights_of(vit, c, 4)
    inputs = family.example_inputs(2, c)
    built = family.build(tmp_path, seed=4, config=c)
    logits = run_components(built, inputs)["classifier", "logits"]
    for image, got in zip(inputs["pixel_values"], logits, strict=True):
        at = "vit.embeddings"
        x = patches(w, f"{at}.patch_embeddings.projection", image, c.patch)
        x = np.concatenate([w[f"{at}.cls_token"][0], x]) + w[f"{at}.position_embeddings"][0]
        for layer in range(c.layers):
            at = f"vit.encoder.layer.{layer}"
            names = [f"{at}.attention.attention.{p}" for p in ("query", "key", "value")]
            names.append(f"{at}.attention.output.dense")
            normal = norm(w, f"{at}.layernorm_before", x, c.epsilon)
            x = x + attention(w, names, normal, normal, c.heads)
            inner = norm(w, f"{at}.layernorm_after", x, c.epsilon)
            inner = gelu(dense(w, f"{at}.intermediate.dense", inner))
            x = x + dense(w, f"{at}.output.dense", inner)
        assert_equal(got, dense(w, "classifier", norm(w, "vit.layernorm", x[0], c.epsilon)))


def clip_layers(c: clip.ClipConfig, w: Weights, model: str, tower: clip.Tower, x: Array) -> Array:
    for layer in range(tower.layers):
        at = f"{model}.encoder.layers.{layer}"
        normal = norm(w, f"{at}.layer_norm1", x, c.epsilon)
        names, causal = projections(f"{at}.self_attn"), model == "text_model"
        x = x + attention(w, names, normal, normal, tower.heads, causal=causal)
        inner = dense(w, f"{at}.mlp.fc1", norm(w, f"{at}.layer_norm2", x, c.epsilon))
        x = x + dense(w, f"{at}.mlp.fc2", inner / (1 + np.exp(-1.702 * inner)))
    return x


def test_clip(tmp_path: Path) -> None:
    family = FAMILIES["clip"]
    c: clip.ClipConfig = family.toy
    w = weights_of(clip, c, 4)
    inputs = family.example_inputs(2, batch=3)
    answers = run_components(family.build(tmp_path, seed=4), inputs)
    texts, images = [], []
    for ids, image in zip(inputs["input_ids"], inputs["pixel_values"], strict=True):
        at = "text_model.embeddings"
        x = w[f"{at}.token_embedding.weight"][ids]
        x = clip_layers(
            c, w, "text_model", c.text, x + w[f"{at}.position_embedding.weight"][: len(ids)]
        )
        texts.append(norm(w, "text_model.final_layer_norm", x, c.epsilon)[np.argmax(ids)])
        at = "vision_model.embeddings"
        x = patches(w, f"{at}.patch_embedding", image, c.patch)
        x = np.concatenate([w[f"{at}.class_embedding"][None], x])
        x = x + w[f"{at}.position_embedding.weight"]
        x = norm(w, "vision_model.pre_layrnorm", x, c.epsilon)
        x = clip_layers(c, w, "vision_model", c.vision, x)
        images.append(norm(w, "vision_model.post_layernorm", x[0], c.epsilon))
    assert_equal(answers["text_encoder", "text_pooled"], np.array(texts))
    assert_equal(answers["vision_encoder", "image_pooled"], np.array(images))
    text, image = np.array(texts), np.array(images)
    text, image = dense(w, "text_projection", text), dense(w, "visual_projection", image)
    text /= np.linalg.norm(text, axis=1)[:, None]
    image /= np.linalg.norm(image, axis=1)[:, None]
    assert_equal(answers["similarity", "text_embeds"], text)
    assert_equal(answers["similarity", "image_embeds"], image)
    assert_equal(
        answers["similarity", "logits_per_image"], np.exp(w["logit_scale"]) * image @ text.T
    )
    assert_equal(
        answers["similarity", "logits_per_text"], np.exp(w["logit_scale"]) * text @ image.T
    )


def convolved(w: Weights, at: str, x: Array, stride: int) -> Array:
    """[channels, length] by a kernel of three, one zero at both ends."""
    padded = np.pad(x, ((0, 0), (1, 1)))
    starts = range(0, x.shape[1], stride)
    columns = [(w[f"{at}.weight"] * padded[:, s : s + 3]).sum((1, 2)) for s in starts]
    return gelu(np.array(columns).T + w[f"{at}.bias"][:, None])


def whisper_layers(
    c: whisper.WhisperConfig, w: Weights, half: str, x: Array, memory: Array | None
) -> Array:
    for layer in range(c.encoder_layers if memory is None else c.decoder_layers):
        at = f"{half}.layers.{layer}"
        normal = norm(w, f"{at}.self_attn_layer_norm", x, c.epsilon)
        names, causal = projections(f"{at}.self_attn"), memory is not None
        x = x + attention(w, names, normal, normal, c.heads, causal=causal)
        if memory is not None:
            normal = norm(w, f"{at}.encoder_attn_layer_norm", x, c.epsilon)
            x = x + attention(w, projections(f"{at}.encoder_attn"), normal, memory, c.heads)
        inner = gelu(dense(w, f"{at}.fc1", norm(w, f"{at}.final_layer_norm", x, c.epsilon)))
        x = x + dense(w, f"{at}.fc2", inner)
    return norm(w, f"{half}.layer_norm", x, c.epsilon)


def test_whisper(tmp_path: Path) -> None:
    family = FAMILIES["whisper"]
    c: whisper.WhisperConfig = family.toy
    w = weights_of(whisper, c, 4)
    inputs = family.example_inputs(2)
    answers = run_components(family.build(tmp_path, seed=4), inputs)
    rates = 10_000 ** (-np.arange(c.hidden // 2) / (c.hidden // 2 - 1))
    angles = np.arange(c.source)[:, None] * rates
    for row in range(2):
        x = convolved(w, "model.encoder.conv1", inputs["input_features"][row], 1)
        x = convolved(w, "model.encoder.conv2", x, 2).T
        x = x + np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        memory = whisper_layers(c, w, "model.encoder", x, None)
        assert_equal(answers["encoder", "last_hidden_state"][row], memory)
        table, ids = w["model.decoder.embed_tokens.weight"], inputs["decoder_input_ids"][row]
        x = table[ids] + w["model.decoder.embed_positions.weight"][: len(ids)]
        x = whisper_layers(c, w, "model.decoder", x, memory)
        assert_equal(answers["decoder", "logits"][row], x @ table.T)
