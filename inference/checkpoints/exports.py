"""Decoders that are ONNX files already: Optimum's and transformers.js' folders, onnxruntime-genai's."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

from inference.checkpoints.described import Described
from inference.checkpoints.documents import described, read_json
from inference.documents import JsonObject

_USUAL: Final = ("model.onnx", "decoder_model_merged.onnx", "decoder_with_past_model.onnx")
_ENCODER: Final = "encoder_model.onnx"
_FIRST: Final = ("decoder_model_merged.onnx", "decoder_model.onnx")
_WITH_CACHE: Final = ("decoder_model_merged.onnx", "decoder_with_past_model.onnx")
_CONTEXTS: Final = ("max_target_positions", "max_position_embeddings", "n_positions", "n_ctx")
_INPUTS: Final = (
    "input_ids",
    "attention_mask",
    "position_ids",
    "seqlens_k",
    "total_sequence_length",
)


@dataclasses.dataclass(frozen=True)
class Export:
    """The ONNX file, and the folder of its tokenizer and configs.

    Attributes:
        encoder: what makes that which the decoder listens to; None: it is a decoder alone.
        first: the decoder's first step, which computes what is kept of that; a merged file has both.
    """

    onnx: Path
    folder: Path
    described: Described
    encoder: Path | None = None
    first: Path | None = None


def optimum(folder: Path) -> Export:
    """A folder with config.json and the graph in it or below onnx/.

    Raises:
        ValueError: there is no graph, or several and none of the usual names.
    """
    for place in (folder, folder / "onnx"):
        if (place / _ENCODER).is_file():
            return _with_encoder(place)
    files = sorted([*folder.glob("*.onnx"), *(folder / "onnx").glob("*.onnx")])
    usual = [file for name in _USUAL for file in files if file.name == name]
    if not usual and len(files) != 1:
        names = ", ".join(str(file.relative_to(folder)) for file in files) or "none"
        raise ValueError(
            f"expected one ONNX file, or one named {', '.join(_USUAL)}; found {names}: name the file itself"
        )
    return of_file((usual or files)[0])


def _with_encoder(place: Path) -> Export:
    """Whisper, T5 and their like: an encoder, and a decoder with a cache."""
    found = [
        next((place / name for name in names if (place / name).is_file()), None)
        for names in (_WITH_CACHE, _FIRST)
    ]
    decoder, first = found
    if decoder is None or first is None:
        raise ValueError(
            f"expected {_ENCODER} with {_WITH_CACHE[0]}, or with {_WITH_CACHE[1]} and {_FIRST[1]}: a "
            "decoder with a cache"
        )
    alone = of_file(decoder)
    tokens, note = _begins(alone.folder)
    words = dataclasses.replace(
        alone.described, begins=tokens, notes=(*alone.described.notes, note)
    )
    return dataclasses.replace(alone, described=words, encoder=place / _ENCODER, first=first)


def _begins(folder: Path) -> tuple[tuple[int, ...], str]:
    """The tokens that its texts begin with, and what is to be said of them.

    Raises:
        ValueError: nothing tells them.
    """
    words = {**read_json(folder / "config.json"), **read_json(folder / "generation_config.json")}
    start, forced = words.get("decoder_start_token_id"), words.get("forced_decoder_ids")
    if not isinstance(start, int):
        raise ValueError(
            "nothing tells which token its texts begin with: expected decoder_start_token_id in config.json"
        )
    languages, tasks = words.get("lang_to_id"), words.get("task_to_id")
    known = languages if isinstance(languages, dict) else {}
    english = known.get("<|en|>")
    rest = _forced(forced, english)
    if not rest and isinstance(english, int):
        task = tasks.get("transcribe") if isinstance(tasks, dict) else None
        rest = [english, *([task] if isinstance(task, int) else [])]
    silent = words.get("no_timestamps_token_id")
    if isinstance(silent, int) and silent not in rest:
        rest.append(silent)
    tokens = (start, *rest)
    said = f"its texts begin with the tokens {', '.join(map(str, tokens))}"
    return tokens, f"{said}: English, unless another language is asked for" if known else said


def _forced(pairs: object, english: object) -> list[int]:
    """The tokens of pairs of place and token; the language may be left open.

    Raises:
        ValueError: they are no such pairs, or nothing tells the language.
    """
    tokens = []
    for pair in pairs if isinstance(pairs, list) else []:
        place, token = pair if isinstance(pair, list) and len(pair) == 2 else (None, None)
        if token is None and place == 1:
            token = english
        if not isinstance(token, int):
            raise ValueError(
                "forced_decoder_ids: expected pairs of place and token, and lang_to_id with <|en|> where "
                f"the first is left open, got {pairs!r:.80}"
            )
        tokens.append(token)
    return tokens


def of_file(onnx: Path) -> Export:
    """An ONNX file, described by a config.json beside it or in the folder above."""
    folders = [onnx.parent, *([onnx.parent.parent] if onnx.parent.name == "onnx" else [])]
    folder = next((one for one in folders if (one / "config.json").is_file()), onnx.parent)
    config = read_json(folder / "config.json")
    sizes = [config.get(key) for key in _CONTEXTS]
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
