"""Decoders with a cache answer what they answer without, in every family."""

from __future__ import annotations

import numpy as np
import pytest

from inference.graph.decoding import found
from inference.graph.decoding.reference import Native
from inference.zoo import decoder, llama
from inference.zoo.decoder import DecoderConfig, Rotation
from inference.zoo.precision import INT4, Precision
from tests.support.zoo import run_model

GEMMA = DecoderConfig(
    normed_heads=True,
    normed_outputs=True,
    activation="gelu_tanh",
    windows=(3, 3, 0, 3),
    rotation=Rotation(1e6),
    local_rotation=Rotation(1e4),
    embedding_scale=8.0,
)
CONFIGS = {
    "llama": DecoderConfig(),
    "llama3": DecoderConfig(rotation=Rotation(5e5, llama3=(8.0, 1.0, 4.0, 64))),
    "qwen2": DecoderConfig(biases=True, tied=False),
    "qwen3": DecoderConfig(normed_heads=True, head_size=32),
    "gemma3": GEMMA,
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_cache_changes_nothing(name: str) -> None:
    assert largest_difference(CONFIGS[name], Precision()) < 1e-5


def test_a_cache_changes_little_where_weights_are_packed() -> None:
    assert largest_difference(CONFIGS["llama"], INT4) < 1e-4


def largest_difference(config: DecoderConfig, precision: Precision) -> float:
    model = decoder.graph(config, precision).model()
    raw = model.SerializeToString()
    whole = found.read(model).found.whole
    ids = np.random.default_rng(1).integers(0, config.vocabulary, 10).tolist()
    stepped, whole_text = Native([(raw, whole)]), Native([(raw, whole)])
    off, at = 0.0, 0
    for step in (5, 1, 1, 3):
        got = stepped.step(ids[at : at + step])
        at += step
        whole_text.restart()
        off = max(off, float(np.abs(got - whole_text.step(ids[:at])).max()))
    return off


def test_it_is_the_llama_without_a_cache() -> None:
    plain = llama.LlamaConfig()
    cached = DecoderConfig(layers=2, vocabulary=100, context=64, tied=False)
    ids = np.random.default_rng(2).integers(0, 100, 9)
    model = decoder.graph(cached).model()
    raw = model.SerializeToString()
    got = Native([(raw, found.read(model).found.whole)]).step(ids.tolist())
    given = {"input_ids": ids[None], "attention_mask": np.ones((1, 9), np.int64)}
    wanted = run_model(llama.graphs(plain)["decoder"].model().SerializeToString(), given)
    np.testing.assert_allclose(got, wanted["logits"][0, -1], atol=1e-5)
