"""A decoder's stages, run one after another, give the bits of the uncut model and of no cache at all."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from inference.core.generation.stages import Use, stages_in_order
from inference.graph.decoding import found, write
from inference.graph.decoding.reference import Native
from inference.graph.steps import TooManyShards
from inference.zoo import decoder
from tests.support import decoder_exports

STEPS = (5, 1, 1, 3)
MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "zoo": lambda: decoder.tiny().model(),
    "optimum": decoder_exports.optimum,
    "genai": decoder_exports.genai,
    "merged": lambda: decoder_exports.merged(decoder_exports.optimum()),
}


def tokens(vocabulary: int) -> list[int]:
    made = np.random.default_rng(1).integers(0, vocabulary, sum(STEPS))
    return [int(token) for token in made]


@pytest.mark.parametrize("name", MODELS)
def test_stages_answer_as_the_uncut_model_does(name: str, tmp_path: Path) -> None:
    plain = MODELS["optimum" if name == "merged" else name]()
    uncut = plain.SerializeToString()
    whole = found.read(plain).found.whole
    read = found.read(MODELS[name]())
    ids = tokens(read.found.vocabulary)
    reference = Native([(uncut, whole)])
    steps = [ids[sum(STEPS[:i]) : sum(STEPS[: i + 1])] for i in range(len(STEPS))]
    wanted = [reference.step(step) for step in steps]
    assert read.changed == (name != "zoo")
    for count in range(1, read.cutter.layers + 1):
        written = write.write_stages(read.cutter, count, tmp_path)
        stages = stages_in_order([one.stage.to_json() for one in written])
        cut = Native([(one.file.path, stage) for one, stage in zip(written, stages, strict=True)])
        for step, logits in zip(steps, wanted, strict=True):
            np.testing.assert_array_equal(cut.step(step), logits)
    for end, logits in zip(itertools.accumulate(STEPS), wanted, strict=True):
        reference.restart()  # natively, products of one row are added up in another order
        np.testing.assert_allclose(reference.step(ids[:end]), logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_states_follow_their_layers_and_only_hidden_tensors_cross(
    name: str, tmp_path: Path
) -> None:
    read = found.read(MODELS[name]())
    written = write.write_stages(read.cutter, read.cutter.layers, tmp_path)
    for layer, one in enumerate(written):
        stage, model = one.stage, onnx.load(str(one.file.path))
        assert {state.past for state in stage.states} == {
            f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"
        }  # fmt: skip
        filled = {item.name for item in stage.inputs} | {state.past for state in stage.states}
        assert {item.name for item in model.graph.input} == filled
        assert (Use.TOKENS in {item.use for item in stage.inputs}) == (layer == 0)
        assert len(stage.hidden) <= 2
        last = layer == len(written) - 1
        assert stage.logits == ("logits" if last else "")
    logits = next(item for item in model.graph.output if item.name == "logits")
    rows = logits.type.tensor_type.shape.dim[1]
    assert rows.dim_value == 1 or rows.dim_param == "rows", (
        "the last alone, or as many as are asked for"
    )


def test_no_more_stages_than_layers(tmp_path: Path) -> None:
    read = found.read(decoder.tiny().model())
    with pytest.raises(TooManyShards, match="at most 4"):
        write.write_stages(read.cutter, 5, tmp_path)


def test_the_same_cut_has_the_same_bytes(tmp_path: Path) -> None:
    files = [
        [one.file.sha256 for one in write.write_stages(read.cutter, 2, tmp_path)]
        for read in (found.read(decoder.tiny().model()) for _ in range(2))
    ]
    assert files[0] == files[1]
