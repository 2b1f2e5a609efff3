"""A Whisper as CTranslate2's converter writes it, with weights of the zoo."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inference.zoo import listening
from inference.zoo.weights import Recorded, Seeded
from inference.zoo.whisper import WhisperConfig, sinusoids
from tests.support import decoders

Array = np.ndarray[Any, Any]
START, SILENT, ENGLISH, TRANSCRIBE, GERMAN = 258, 259, 260, 261, 262
WORDS = {
    START: "<|startoftranscript|>",
    SILENT: "<|notimestamps|>",
    ENGLISH: "<|en|>",
    TRANSCRIBE: "<|transcribe|>",
    GERMAN: "<|de|>",
}
_NUMBERS: Mapping[str, int] = {
    "decoder/activation": 3,
    "decoder/alibi": 0,
    "decoder/pre_norm": 1,
    "decoder/scale_embeddings": 0,
    "decoder/start_from_zero_embedding": 0,
}
_KINDS = {"float32": 0, "int8": 1, "int16": 2, "float16": 4}


def write(
    folder: Path,
    config: WhisperConfig,
    *,
    dtype: str = "float32",
    changed: Mapping[str, Array] | None = None,
    spec: str = "WhisperSpec",
    aliases: Mapping[str, str] | None = None,
    never: Sequence[int] = (),
    not_first: Sequence[int] = (),
) -> Path:
    """Weights of seed 0, in `dtype`; `changed`: variables that are others; `aliases`: more names of some.

    `never`, `not_first`: tokens that its config.json says are not written, or not as the first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = {name: array.astype(dtype) for name, array in _weights(config).items()}
    for part in ("encoder", "decoder"):
        found[f"{part}/num_heads"] = np.array(config.heads, np.int16)
    found |= {name: np.array(value, np.int8) for name, value in _NUMBERS.items()}
    found |= changed or {}
    raw = struct.pack("<I", 6) + _text(spec) + struct.pack("<II", 3, len(found))
    for name, array in sorted(found.items()):
        raw += _text(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        raw += struct.pack("<BI", _KINDS[array.dtype.name], array.nbytes) + array.tobytes()
    names = {"decoder/projection/weight": "decoder/embeddings/weight", **(aliases or {})}
    raw += struct.pack("<I", len(names))
    raw += b"".join(_text(alias) + _text(name) for alias, name in names.items())
    (folder / "model.bin").write_bytes(raw)
    words = json.loads(decoders.tokenizer().to_str())
    for one in words["added_tokens"]:
        one["content"] = WORDS.get(one["id"], one["content"])
        if one["id"] == decoders.END:
            one["content"] = "<|endoftext|>"
    (folder / "tokenizer.json").write_text(json.dumps(words))
    config_json = {"suppress_ids": [*never], "suppress_ids_begin": [*not_first], "lang_ids": []}
    (folder / "config.json").write_text(json.dumps(config_json))
    return folder


def _text(text: str) -> bytes:
    raw = text.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def _weights(config: WhisperConfig) -> dict[str, Array]:
    recorded = Recorded(Seeded(0))
    for graph in listening.whisper_graphs(config, weights=recorded).values():
        graph.model()
    own = recorded.arrays
    made = {
        "encoder/position_encodings/encodings": sinusoids(config.source, config.hidden),
        "decoder/position_encodings/encodings": own["model.decoder.embed_positions.weight"],
        "decoder/embeddings/weight": own["model.decoder.embed_tokens.weight"],
    }
    for name in ("conv1", "conv2"):
        for part in ("weight", "bias"):
            made[f"encoder/{name}/{part}"] = own[f"model.encoder.{name}.{part}"]
    for side, layers in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        _norm(made, own, f"{side}/layer_norm", f"model.{side}.layer_norm")
        for layer in range(layers):
            _layer(made, own, f"{side}/layer_{layer}", f"model.{side}.layers.{layer}")
    return made


def _layer(made: dict[str, Array], own: Mapping[str, Array], to: str, at: str) -> None:
    attentions: list[tuple[str, str, tuple[str, ...]]] = [
        ("self_attn", "self_attention", ("qkv", "o"))
    ]
    if to.startswith("decoder"):
        attentions.append(("encoder_attn", "attention", ("q", "kv", "o")))
    for hf, ct2, fused in attentions:
        for number, parts in enumerate(fused):
            names = [f"{at}.{hf}.{'out' if part == 'o' else part}_proj" for part in parts]
            made[f"{to}/{ct2}/linear_{number}/weight"] = np.concatenate(
                [own[f"{name}.weight"] for name in names]
            )
            made[f"{to}/{ct2}/linear_{number}/bias"] = np.concatenate(
                [own.get(f"{name}.bias", np.zeros(len(own[f"{name}.weight"]))) for name in names]
            )
        _norm(made, own, f"{to}/{ct2}/layer_norm", f"{at}.{hf}_layer_norm")
    for number in (1, 2):
        for part in ("weight", "bias"):
            made[f"{to}/ffn/linear_{number - 1}/{part}"] = own[f"{at}.fc{number}.{part}"]
    _norm(made, own, f"{to}/ffn/layer_norm", f"{at}.final_layer_norm")


def _norm(made: dict[str, Array], own: Mapping[str, Array], to: str, at: str) -> None:
    made[f"{to}/gamma"], made[f"{to}/beta"] = own[f"{at}.weight"], own[f"{at}.bias"]
