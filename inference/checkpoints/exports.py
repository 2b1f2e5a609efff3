"""Decoders that are ONNX files already: Optimum's and transformers.js' folders, onnxruntime-genai's."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

from inference.checkpoints.described import Described
from inference.checkpoints.documents import described, read_json
from inference.documents import JsonObject

_USUAL: Final = ("model.onnx", "decoder_model_merged.onnx", "decoder_with_past_model.onnx")
_INPUTS: Final = (
    "input_ids",
    "attention_mask",
    "position_ids",
    "seqlens_k",
    "total_sequence_length",
)


@dataclasses.dataclass(frozen=True)
class Export:
    """The ONNX file, and the folder of its tokenizer and configs."""

    onnx: Path
    folder: Path
    described: Described


def optimum(folder: Path) -> Export:
    """A folder with config.json and the graph in it or below onnx/.

    Raises:
        ValueError: there is no graph, or several and none of the usual names.
    """
    files = sorted([*folder.glob("*.onnx"), *(folder / "onnx").glob("*.onnx")])
    usual = [file for name in _USUAL for file in files if file.name == name]
    if not usual and len(files) != 1:
        names = ", ".join(str(file.relative_to(folder)) for file in files) or "none"
        raise ValueError(
            f"expected one ONNX file, or one named {', '.join(_USUAL)}; found {names}: name the file itself"
        )
    return of_file((usual or files)[0])


def of_file(onnx: Path) -> Export:
    """An ONNX file, described by a config.json beside it or in the folder above."""
    folders = [onnx.parent, *([onnx.parent.parent] if onnx.parent.name == "onnx" else [])]
    folder = next((one for one in folders if (one / "config.json").is_file()), onnx.parent)
    config = read_json(folder / "config.json")
    sizes = [config.get(key) for key in ("max_position_embeddings", "n_positions", "n_ctx")]
    context = next((size for size in sizes if isinstance(size, int) and size > 0), 0)
    kind = config.get("model_type")
    words = described(folder, architecture=kind if isinstance(kind, str) else "", context=context)
    return Export(onnx, folder, words)


def genai(folder: Path) -> Export:
    """A folder with genai_config.json, which names file, ports and ends.

    Raises:
        ValueError: it names no file that is there.
    """
    model = _object(read_json(folder / "genai_config.json"), "model")
    decoder = _object(model, "decoder")
    name = decoder.get("filename")
    if not isinstance(name, str) or not (folder / Path(name).name).is_file():
        raise ValueError(
            f"genai_config.json names the file {name!r:.80}, which is not in its folder"
        )
    size, kind = model.get("context_length"), model.get("type")
    words = described(
        folder,
        architecture=kind if isinstance(kind, str) else "",
        context=size if isinstance(size, int) and size > 0 else 0,
    )
    ends = model.get("eos_token_id")
    numbers = [n for n in (ends if isinstance(ends, list) else [ends]) if isinstance(n, int)]
    inputs = _object(decoder, "inputs")
    called = {
        own: usual
        for usual in _INPUTS
        if isinstance(own := inputs.get(usual), str) and own != usual
    }
    stops = tuple(dict.fromkeys([*numbers, *words.stop_tokens]))
    words = dataclasses.replace(words, called=called, stop_tokens=stops)
    return Export(folder / Path(name).name, folder, words)


def _object(document: JsonObject, key: str) -> JsonObject:
    found = document.get(key)
    if not isinstance(found, dict):
        raise ValueError(f"genai_config.json: {key}: expected an object, got {found!r:.80}")
    return found
