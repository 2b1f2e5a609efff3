"""Folders of Hugging Face, Optimum and onnxruntime-genai: read right, or refused with the reason."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file

from inference.checkpoints.architectures import MOST_POSITIONS
from inference.checkpoints.hugging_face import HuggingFaceModel
from inference.checkpoints.reading import Kind, kind_of, made
from inference.graph.decoding import found
from inference.graph.decoding.reference import Native
from inference.zoo import decoder
from inference.zoo.decoder import DecoderConfig, Rotation
from inference.zoo.weights import Recorded, Seeded
from tests.support import decoder_exports
from tests.support import decoders as tiny

IDS = [3, 1, 200, 7, 9]
BASE = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "vocab_size": 512,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "eos_token_id": 2,
}
LLAMA = DecoderConfig(layers=2)
CASES: dict[str, tuple[dict[str, Any], DecoderConfig]] = {
    "llama": ({"model_type": "llama"}, LLAMA),
    "llama3": (
        {
            "model_type": "llama",
            "rope_theta": 5e5,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
        dataclasses.replace(LLAMA, rotation=Rotation(5e5, llama3=(8.0, 1.0, 4.0, 64))),
    ),
    "qwen2": (
        {"model_type": "qwen2", "use_sliding_window": False, "rope_theta": 1e6},
        dataclasses.replace(LLAMA, biases=True, tied=False, rotation=Rotation(1e6)),
    ),
    "qwen3": ({"model_type": "qwen3"}, dataclasses.replace(LLAMA, normed_heads=True)),
    "gemma3": (
        {
            "model_type": "gemma3_text",
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "sliding_window": 3,
            "query_pre_attn_scalar": 16,
            "layer_types": ["sliding_attention", "full_attention"],
            "hidden_activation": "gelu_pytorch_tanh",
        },
        dataclasses.replace(
            LLAMA,
            activation="gelu_tanh",
            normed_heads=True,
            normed_outputs=True,
            embedding_scale=8.0,
            windows=(3, 0),
            rotation=Rotation(1e6),
            local_rotation=Rotation(1e4),
            score=0.25,
        ),
    ),
}


def write(folder: Path, config: Mapping[str, Any], drawn: DecoderConfig) -> list[np.ndarray]:
    """A folder with the drawn model's weights, in bfloat16, in two files; returns what it answers."""
    weights = _Rounded(3)
    recorded = Recorded(weights)
    model = decoder.graph(drawn, weights=recorded).model()
    gemma = config["model_type"] == "gemma3_text"
    arrays = {
        name: (array - 1 if gemma and "norm" in name else array).astype(ml_dtypes.bfloat16)
        for name, array in recorded.arrays.items()
    }
    names = sorted(arrays)
    parts = {"a.safetensors": names[:7], "b.safetensors": names[7:]}
    for file, own in parts.items():
        save_file({name: arrays[name] for name in own}, folder / file)
    index = {name: file for file, own in parts.items() for name in own}
    _json(folder / "model.safetensors.index.json", {"weight_map": index})
    _json(folder / "config.json", {**BASE, **config})
    native = Native([(model.SerializeToString(), found.read(model).found.whole)])
    return [native.step(IDS), native.step([5])]


class _Rounded(Seeded):
    """Weights that bfloat16 holds, also with one taken away."""

    def array(self, name: str, shape: tuple[int, ...], *, mean: float, spread: float) -> np.ndarray:
        made = super().array(name, shape, mean=0.0, spread=spread)
        rounded: np.ndarray = np.rint(made * 64).astype(np.float32) / 64 + np.float32(mean)
        return rounded


def _json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("name", CASES)
def test_a_hugging_face_folder_answers_as_its_weights_do(name: str, tmp_path: Path) -> None:
    wanted = write(tmp_path, *CASES[name])
    out = tmp_path / "out"
    out.mkdir()
    assert kind_of(tmp_path) is Kind.HUGGING_FACE
    one = made(tmp_path, Kind.HUGGING_FACE, out, floats=False, tokenizer=True)
    native = Native([(one.onnx, found.read_file(one.onnx).found.whole)])
    for step, logits in zip((IDS, [5]), wanted, strict=True):
        np.testing.assert_allclose(native.step(step), logits, atol=1e-5, rtol=1e-5)
    assert one.described.stop_tokens == (2,)
    assert "BF16" in one.described.notes[0]


def test_what_lies_beside_the_weights_is_read(tmp_path: Path) -> None:
    write(tmp_path, *CASES["llama"])
    tiny.tokenizer().save(str(tmp_path / "tokenizer.json"))
    words = {
        "chat_template": [{"name": "default", "template": "A"}, {"name": "tool", "template": "B"}],
        "eos_token": {"content": "<|end|>"},
    }
    _json(tmp_path / "tokenizer_config.json", words)
    _json(tmp_path / "generation_config.json", {"eos_token_id": [7, 2]})
    one = made(tmp_path, Kind.HUGGING_FACE, tmp_path, floats=False, tokenizer=True)
    assert one.tokenizer == tmp_path / "tokenizer.json"
    assert one.described.stop_tokens == (7, 2, tiny.END)
    assert (one.described.chat_template, one.described.special) == ("A", {"eos_token": "<|end|>"})
    (tmp_path / "chat_template.jinja").write_text("C")
    assert HuggingFaceModel(tmp_path).described().chat_template == "C"


def test_long_contexts_are_cut_and_said(tmp_path: Path) -> None:
    write(tmp_path, {"model_type": "llama", "max_position_embeddings": 131072}, LLAMA)
    words = HuggingFaceModel(tmp_path).described()
    assert words.context == MOST_POSITIONS
    assert words.notes[1] == f"its context of 131072 positions is cut to {MOST_POSITIONS}"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "mixtral"}, "the architecture 'mixtral' cannot be converted"),
        ({"final_logit_softcapping": 30.0}, "has final_logit_softcapping 30.0; expected None"),
        ({"use_sliding_window": True}, "has use_sliding_window True"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "scales positions by 'yarn'"),
        ({"rope_scaling": {"rope_type": "linear"}}, "rope_scaling cannot be read"),
        ({"num_key_value_heads": 3}, "4 query heads cannot share 3"),
        ({"hidden_size": "64"}, "hidden_size: expected a whole number, got '64'"),
        ({"vocab_size": -1}, "vocabulary: expected at least 1, got -1"),
    ],
)
def test_configs_that_cannot_be_drawn_are_refused(
    config: dict[str, Any], says: str, tmp_path: Path
) -> None:
    write(tmp_path, CASES["llama"][0], LLAMA)
    _json(tmp_path / "config.json", {**BASE, "model_type": "llama", **config})
    with pytest.raises(ValueError, match=says):
        HuggingFaceModel(tmp_path)


def test_a_folder_of_another_kind_of_model_names_its_graphs(tmp_path: Path) -> None:
    """As encoders are published: weights, a config whose every word is another's, a graph beside them."""
    write(tmp_path, *CASES["llama"])
    _json(tmp_path / "config.json", {**BASE, "model_type": "bert", "hidden_act": "gelu"})
    said = "the architecture 'bert' cannot be converted; expected one of llama, qwen2, qwen3, gemma3, or "
    with pytest.raises(ValueError, match=said):
        made(tmp_path, Kind.HUGGING_FACE, tmp_path, floats=False, tokenizer=True)
    (tmp_path / "onnx").mkdir()
    onnx.save(decoder_exports.optimum(), tmp_path / "onnx" / "model.onnx")
    with pytest.raises(ValueError, match=r"or name a file of its own: onnx/model\.onnx$"):
        made(tmp_path, Kind.HUGGING_FACE, tmp_path, floats=False, tokenizer=True)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    write(tmp_path, *CASES["llama"])
    file = tmp_path / "b.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"b.safetensors is no complete safetensors file"):
        HuggingFaceModel(tmp_path)
    file.unlink()
    with pytest.raises(ValueError, match=r"b.safetensors is missing; its index names it"):
        HuggingFaceModel(tmp_path)
    (tmp_path / "model.safetensors.index.json").unlink()
    with pytest.raises(ValueError, match="lack the weight"):
        made(tmp_path, Kind.HUGGING_FACE, tmp_path, floats=False, tokenizer=True)


def test_an_optimum_folder(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    onnx.save(decoder_exports.optimum(), tmp_path / "onnx" / "model.onnx")
    onnx.save(decoder_exports.optimum(), tmp_path / "onnx" / "model_q4.onnx")
    _json(tmp_path / "config.json", {"model_type": "gpt2", "n_positions": 99, "eos_token_id": 3})
    assert kind_of(tmp_path) is Kind.OPTIMUM
    one = made(tmp_path, Kind.OPTIMUM, tmp_path, floats=False, tokenizer=True)
    assert (one.onnx.name, one.tokenizer) == ("model.onnx", None)
    words = one.described
    assert (words.architecture, words.context, words.stop_tokens) == ("gpt2", 99, (3,))
    (tmp_path / "onnx" / "model.onnx").rename(tmp_path / "onnx" / "model_fp16.onnx")
    with pytest.raises(ValueError, match=r"found onnx/model_fp16.onnx, onnx/model_q4.onnx: name"):
        made(tmp_path, Kind.OPTIMUM, tmp_path, floats=False, tokenizer=True)


def test_a_genai_folder(tmp_path: Path) -> None:
    model = decoder_exports.genai()
    onnx.save(model, tmp_path / "decoder.onnx")
    config: dict[str, Any] = {
        "type": "phi3",
        "context_length": 77,
        "eos_token_id": [4, 5],
        "decoder": {"filename": "decoder.onnx", "inputs": {"input_ids": "tokens"}},
    }
    _json(tmp_path / "genai_config.json", {"model": config})
    assert kind_of(tmp_path) is Kind.GENAI
    words = made(tmp_path, Kind.GENAI, tmp_path, floats=False, tokenizer=True).described
    assert (words.architecture, words.context, words.stop_tokens) == ("phi3", 77, (4, 5))
    assert words.called == {"tokens": "input_ids"}
    config["decoder"]["filename"] = "../gone.onnx"
    _json(tmp_path / "genai_config.json", {"model": config})
    with pytest.raises(ValueError, match=r"names the file '\.\./gone.onnx', which is not in"):
        made(tmp_path, Kind.GENAI, tmp_path, floats=False, tokenizer=True)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(
        ValueError, match=r"expected a GGUF file, or a folder with .*found notes.txt"
    ):
        kind_of(tmp_path)
