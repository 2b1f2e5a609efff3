"""A Whisper in a CTranslate2 folder: its weights to the bit, and what cannot be is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from inference.checkpoints.architectures import Unsupported
from inference.checkpoints.ctranslate2_file import BadCtranslate2, Ctranslate2File
from inference.checkpoints.ctranslate2_whisper import Ctranslate2Whisper
from inference.checkpoints.reading import Kind, Made, kind_of, made
from inference.zoo import listening
from inference.zoo.whisper import WhisperConfig
from tests.support import ctranslate2_folders, decoders
from tests.support.ctranslate2_folders import ENGLISH, SILENT, START, TRANSCRIBE
from tests.support.listeners import _WHISPER

BIAS = "encoder/layer_0/self_attention/linear_0/bias"


def read(folder: Path, out: Path) -> Made:
    assert kind_of(folder) is Kind.CTRANSLATE2
    out.mkdir()
    return made(folder, Kind.CTRANSLATE2, out, floats=False, tokenizer=True)


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    return {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_graphs_are_the_zoos_with_its_weights(tmp_path: Path, dtype: str) -> None:
    folder = ctranslate2_folders.write(tmp_path / "in", _WHISPER, dtype=dtype)
    one = read(folder, tmp_path / "out")
    assert one.encoder is not None
    assert one.tokenizer == folder / "tokenizer.json"
    right = {part: graph.model() for part, graph in listening.whisper_graphs(_WHISPER).items()}
    for part, path in (("encoder", one.encoder), ("decoder", one.onnx)):
        got = onnx.load(path)
        assert got.graph.node == right[part].graph.node
        held, expected = weights(got), weights(right[part])
        assert held.keys() == expected.keys()
        for name, array in expected.items():
            if array.dtype == np.float32 and array.ndim:
                array = array.astype(dtype).astype(np.float32)
            np.testing.assert_array_equal(held[name], array, err_msg=name)


def test_what_is_told_of_it(tmp_path: Path) -> None:
    one = read(
        ctranslate2_folders.write(tmp_path / "in", _WHISPER, dtype="float16"), tmp_path / "out"
    )
    words = one.described
    assert (words.architecture, words.context) == ("whisper", _WHISPER.target)
    assert (words.begins, words.stop_tokens) == ((START, SILENT), (decoders.END,))
    assert words.notes[0].startswith("weights held as float32; they came as ")
    assert words.notes[1] == f"its texts begin with the tokens {START}, {SILENT}"


def test_one_of_many_languages_begins_with_english(tmp_path: Path) -> None:
    config = WhisperConfig(hidden=8, heads=2, intermediate=8, vocabulary=51_865)
    words = Ctranslate2Whisper(ctranslate2_folders.write(tmp_path, config)).described()
    assert words.begins == (START, ENGLISH, TRANSCRIBE, SILENT)
    assert words.notes[1].endswith("English, unless another language is asked for")


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    config = dataclasses.replace(_WHISPER, encoder_layers=1, decoder_layers=1, hidden=4, heads=2)
    file = ctranslate2_folders.write(tmp_path, config) / "model.bin"
    raw = file.read_bytes()
    for size in [*range(120), *range(120, len(raw), 997), len(raw) - 1]:
        file.write_bytes(raw[:size])
        with pytest.raises(BadCtranslate2):
            Ctranslate2File(file)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"decoder/activation": np.array(0, np.int8)}, "decoder has activation 0; expected 3"),
        ({BIAS: np.ones(96, np.float32)}, "has a bias of keys; expected none"),
        ({BIAS: np.zeros(95, np.float32)}, r"expected shape \[32\] of each of 3, got \[95\]"),
        (
            {"encoder/conv1/bias": np.zeros(32, np.int8)},
            "is int8; expected float32, float16, bfloat16",
        ),
        ({"encoder/num_heads": np.array(5, np.int16)}, "encoder and decoder|cannot be divided"),
        (
            {"encoder/num_heads": np.array(np.inf, np.float32)},
            "num_heads: expected a whole number, got inf",
        ),
        (
            {"decoder/alibi": np.array(np.nan, np.float32)},
            "alibi: expected a whole number, got nan",
        ),
        (
            {"decoder/num_heads": np.array(4.5, np.float16)},
            "num_heads: expected a whole number, got 4.5",
        ),
        (
            {"encoder/layer_9/x": np.array(5, np.int16)},
            "the layers of its encoder are not numbered",
        ),
    ],
)
def test_what_computes_otherwise_is_refused(
    tmp_path: Path, changed: Mapping[str, Any], match: str
) -> None:
    folder = ctranslate2_folders.write(tmp_path / "in", _WHISPER, changed=changed)
    with pytest.raises((Unsupported, BadCtranslate2), match=match):
        read(folder, tmp_path / "out")


def test_a_small_file_whose_names_make_a_large_model_is_refused(tmp_path: Path) -> None:
    """Names of what is there once: thousands of layers would be written out whole."""
    first = "decoder/layer_0/ffn/linear_0/weight"
    many = {first.replace("_0", f"_{layer}", 1): first for layer in range(1, 10_000)}
    folder = ctranslate2_folders.write(tmp_path / "in", _WHISPER, aliases=many)
    with pytest.raises(
        BadCtranslate2, match=r"its names make weights of [\d,]+ bytes of a file of"
    ):
        read(folder, tmp_path / "out")


def test_another_model_is_refused(tmp_path: Path) -> None:
    folder = ctranslate2_folders.write(tmp_path / "in", _WHISPER, spec="TransformerSpec")
    with pytest.raises(Unsupported, match="of 'TransformerSpec' cannot be converted"):
        read(folder, tmp_path / "out")


def test_a_folder_without_its_tokens_is_refused(tmp_path: Path) -> None:
    folder = ctranslate2_folders.write(tmp_path / "in", _WHISPER)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"expected a token <\|startoftranscript\|> of its 512"):
        read(folder, tmp_path / "out")
