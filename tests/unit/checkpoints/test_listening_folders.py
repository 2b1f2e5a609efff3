"""Whisper and T5 as exported: the encoder makes what the decoder kept of it, and the text is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from inference.checkpoints.reading import Kind, kind_of, made
from inference.core.generation.stages import Use
from inference.graph.decoding import found
from inference.graph.decoding.states import NoDecoder
from inference.zoo import listening
from tests.support import decoders, listeners, listening_exports
from tests.support.listeners import _T5, _WHISPER, BEGINS
from tests.support.zoo import run_model


def read(folder: Path, out: Path) -> Any:
    assert kind_of(folder) is Kind.OPTIMUM
    out.mkdir()
    return made(folder, Kind.OPTIMUM, out, floats=False, tokenizer=True)


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize("family", ["whisper", "t5"])
def test_an_export_writes_what_its_weights_do(family: str, merged: bool, tmp_path: Path) -> None:
    one = read(listening_exports.write(tmp_path / "in", family, merged=merged), tmp_path / "out")
    assert (one.described.begins, one.described.context) == (BEGINS, listeners.CONTEXT)
    assert one.described.stop_tokens == (decoders.END,)
    assert one.described.notes == ("its texts begin with the tokens 1, 2",)
    random = np.random.default_rng(2)
    if family == "whisper":
        graphs = listening.whisper_graphs(_WHISPER)
        shape = (1, listeners.MELS, listeners.FRAMES)
        inputs: Any = {"input_features": random.standard_normal(shape).astype(np.float32)}
    else:
        graphs = listening.t5_graphs(_T5)
        ids = random.integers(0, _T5.vocabulary, (1, 7))
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    right = run_model(graphs["encoder"].model().SerializeToString(), inputs)
    got = run_model(one.encoder, inputs)
    whole = found.read_file(one.onnx).found.whole
    assert got.keys() == right.keys() == set(whole.memory)
    for name, array in right.items():
        np.testing.assert_allclose(got[name], array, atol=1e-5, rtol=1e-5)
    assert not [item for item in whole.inputs if item.use is Use.CACHED]
    onnx.checker.check_model(onnx.load(one.encoder), full_check=True)
    written = [
        listeners.greedy(
            listeners.Written(encoder, decoder, tmp_path / "in" / "tokenizer.json"), inputs, BEGINS, 12
        )
        for encoder, decoder in (
            (one.encoder, one.onnx),
            (graphs["encoder"].save(tmp_path / "e.onnx"), graphs["decoder"].save(tmp_path / "d.onnx")),
        )
    ]  # fmt: skip
    assert written[0] == written[1] != ""


def test_both_of_a_batch_are_heard(tmp_path: Path) -> None:
    one = read(listening_exports.write(tmp_path / "in", "t5", merged=True), tmp_path / "out")
    ids = np.array([[3, 4, 5], [6, 7, 8]])
    both = run_model(one.encoder, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    for index in range(2):
        alone = ids[index : index + 1]
        for name, array in run_model(
            one.encoder, {"input_ids": alone, "attention_mask": np.ones_like(alone)}
        ).items():
            np.testing.assert_allclose(both[name][index], array[0], atol=1e-5)


def test_languages_are_read_where_nothing_is_forced(tmp_path: Path) -> None:
    folder = listening_exports.write(tmp_path / "in", "whisper", merged=True)
    (folder / "generation_config.json").write_text(
        '{"decoder_start_token_id": 1, "lang_to_id": {"<|en|>": 5, "<|de|>": 6},'
        ' "task_to_id": {"transcribe": 7}, "no_timestamps_token_id": 8}'
    )
    one = read(folder, tmp_path / "out")
    assert one.described.begins == (1, 5, 7, 8)
    assert "English, unless another language" in one.described.notes[0]


@pytest.mark.parametrize(
    ("forced", "begins"),
    [("[[1, null], [2, 7]]", (1, 5, 7, 8)), ("[[1, 6], [2, 7], [3, 8]]", (1, 6, 7, 8)), ("[]", (1, 5, 8))],
)  # fmt: skip
def test_what_is_forced_ends_without_timestamps(
    tmp_path: Path, forced: str, begins: tuple[int, ...]
) -> None:
    """As published Whispers have it: the language left open, the last token said apart."""
    folder = listening_exports.write(tmp_path / "in", "whisper", merged=True)
    (folder / "generation_config.json").write_text(
        f'{{"decoder_start_token_id": 1, "forced_decoder_ids": {forced}, "lang_to_id": {{"<|en|>": 5}},'
        ' "no_timestamps_token_id": 8}'
    )
    assert read(folder, tmp_path / "out").described.begins == begins


@pytest.mark.parametrize("forced", ["[7]", "[[1, null]]", '[[1, "en"]]', "[[1, 2, 3]]"])
def test_what_is_forced_in_no_known_form_is_refused(tmp_path: Path, forced: str) -> None:
    folder = listening_exports.write(tmp_path / "in", "whisper", merged=True)
    (folder / "generation_config.json").write_text(
        f'{{"decoder_start_token_id": 1, "forced_decoder_ids": {forced}}}'
    )
    with pytest.raises(ValueError, match="expected pairs of place and token"):
        read(folder, tmp_path / "out")


def test_what_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    folder = listening_exports.write(tmp_path / "in", "whisper", merged=False)
    (tmp_path / "out").mkdir()

    def refused(match: str) -> None:
        with pytest.raises((NoDecoder, ValueError), match=match):
            made(folder, Kind.OPTIMUM, tmp_path / "out", floats=False, tokenizer=True)

    first = onnx.load(folder / "decoder_model.onnx")
    onnx.save(onnx.load(folder / "decoder_with_past_model.onnx"), folder / "decoder_model.onnx")
    refused(r"depend on 'past_key_values.0.encoder.key'; expected encoder_hidden_states alone")
    first.opset_import[0].version = 14
    onnx.save(first, folder / "decoder_model.onnx")
    refused("of the opsets 17 and 14")
    (folder / "decoder_model.onnx").unlink()
    refused("expected encoder_model.onnx with decoder_model_merged.onnx, or with")


def test_a_decoder_of_one_token_at_a_time_is_refused(tmp_path: Path) -> None:
    """It has no mask among the tokens of a step: theirs would see those that come after them."""
    folder = listening_exports.write(tmp_path / "in", "whisper", merged=False)
    file = folder / "decoder_with_past_model.onnx"
    decoder = onnx.load(file)
    (hiding,) = (node for node in decoder.graph.node if node.op_type == "Less")
    far = onnx.numpy_helper.from_array(np.array(-1000, np.int64), "far")
    decoder.graph.initializer.append(far)
    hiding.input[1] = "far"
    onnx.save(decoder, file)
    with pytest.raises(NoDecoder, match="exported for one token at a time"):
        read(folder, tmp_path / "out")
    (port,) = (item for item in decoder.graph.input if item.name == "input_ids")
    port.type.tensor_type.shape.dim[1].dim_value = 1
    onnx.save(decoder, file)
    with pytest.raises(NoDecoder, match="expected input_ids of any length"):
        read(folder, tmp_path / "again")
