"""Whisper and T5 with caches write what they write without, whole and cut."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.core.generation.stages import Use, stages_in_order
from inference.graph.decoding import found, verify, write
from inference.graph.decoding.reference import Native
from inference.zoo import listening, t5, whisper
from inference.zoo.graph import Graph
from tests.support.zoo import run_model

TOKENS = [3, 17, 41, 8, 25, 60]
STEPS = (3, 1, 2)


def speech() -> tuple[Mapping[str, Graph], Mapping[str, Graph], Mapping[str, Any]]:
    config = whisper.WhisperConfig()
    sound = np.random.default_rng(4).standard_normal((1, config.mels, config.frames))
    return (
        listening.whisper_graphs(config),
        whisper.graphs(config),
        {"input_features": sound.astype(np.float32)},
    )


def text(*, tied: bool) -> tuple[Mapping[str, Graph], Mapping[str, Graph], Mapping[str, Any]]:
    config = t5.T5Config(gated=not tied, tied=tied)
    ids = np.array([[9, 2, 77, 5, 1]])
    return (
        listening.t5_graphs(config),
        t5.graphs(config),
        {"input_ids": ids, "attention_mask": np.ones_like(ids)},
    )


MODELS = {"whisper": speech, "t5": lambda: text(tied=False), "t5 1.0": lambda: text(tied=True)}


@pytest.mark.parametrize("name", MODELS)
def test_a_cache_changes_nothing_whole_or_cut(name: str, tmp_path: Path) -> None:
    cached, plain, inputs = MODELS[name]()
    encoder, decoder = (plain[role].model().SerializeToString() for role in ("encoder", "decoder"))
    given = {
        **inputs,
        "encoder_hidden_states": run_model(encoder, inputs)["last_hidden_state"],
        "decoder_input_ids": np.array([TOKENS]),
    }
    wanted = run_model(decoder, given)["logits"][0]

    memory = run_model(cached["encoder"].model().SerializeToString(), inputs)
    path = cached["decoder"].save(tmp_path / "decoder.onnx")
    read = found.read_file(path)
    whole = read.found.whole
    assert {item.name for item in whole.inputs if item.use is Use.MEMORY} == memory.keys()
    assert len(whole.states) == 2 * read.cutter.layers == 4
    for count in (1, 2):
        written = write.write_stages(read.cutter, count, tmp_path)
        verify.verify((path, whole), written, read.found.vocabulary)
        stages = stages_in_order([one.stage.to_json() for one in written])
        native = Native(
            [(one.file.path, stage) for one, stage in zip(written, stages, strict=True)], memory
        )
        at = 0
        for step in STEPS:
            logits = native.step(TOKENS[at : at + step])
            at += step
            np.testing.assert_allclose(logits, wanted[at - 1], atol=2e-5, rtol=1e-4)
        takes = [{i.name for i in stage.inputs if i.use is Use.MEMORY} for stage in stages]
        assert set().union(*takes) == memory.keys()
        assert sum(map(len, takes)) == len(memory), "each stage takes its own layers' memory"
