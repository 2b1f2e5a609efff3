"""A published language model, whatever it comes as, made one ONNX file with a tokenizer and a description."""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path
from typing import Final

import onnx

from inference.checkpoints import exports
from inference.checkpoints.architectures import Unsupported
from inference.checkpoints.ctranslate2_whisper import Ctranslate2Whisper
from inference.checkpoints.described import Described
from inference.checkpoints.exports import Export
from inference.checkpoints.gguf_file import GgufFile
from inference.checkpoints.gguf_model import GgufModel
from inference.checkpoints.gguf_tokenizer import tokenizer_json
from inference.checkpoints.hugging_face import HuggingFaceModel
from inference.graph.decoding import found, memory, verify
from inference.graph.model import load
from inference.zoo import decoder
from inference.zoo.weights import Weights

_MOST_LISTED: Final = 8


class Kind(enum.StrEnum):
    """What it comes as."""

    GGUF = "GGUF"
    HUGGING_FACE = "Hugging Face folder"
    OPTIMUM = "Optimum or transformers.js folder"
    GENAI = "onnxruntime-genai folder"
    CTRANSLATE2 = "CTranslate2 folder"

    @property
    def drawn(self) -> bool:
        """Whether its graph is drawn here, from weights alone; else it comes with one of its own."""
        return self in (Kind.GGUF, Kind.HUGGING_FACE, Kind.CTRANSLATE2)


@dataclasses.dataclass(frozen=True)
class Made:
    """Attributes:
    onnx: the file, written or found.
    tokenizer: a tokenizer.json; None: there is none.
    encoder: what makes that which it listens to, written; None: it listens to nothing.
    """

    kind: Kind
    onnx: Path
    tokenizer: Path | None
    described: Described
    encoder: Path | None = None


def kind_of(path: Path) -> Kind | None:
    """What a file or folder is by its names; None: nothing that is read here.

    Raises:
        ValueError: a folder without anything known in it.
    """
    if path.is_file():
        return Kind.GGUF if path.suffix.lower() == ".gguf" else None
    if not path.is_dir():
        return None
    if (path / "genai_config.json").is_file():
        return Kind.GENAI
    if any(path.glob("*.safetensors")):
        return Kind.HUGGING_FACE
    if (path / "model.bin").is_file():
        return Kind.CTRANSLATE2
    if any(path.glob("*.onnx")) or any((path / "onnx").glob("*.onnx")):
        return Kind.OPTIMUM
    ggufs = sorted(path.glob("*.gguf"))
    if ggufs:
        raise ValueError(f"name the file itself: {', '.join(file.name for file in ggufs)}")
    found = ", ".join(sorted(file.name for file in path.iterdir())[:_MOST_LISTED]) or "nothing"
    raise ValueError(
        "expected a GGUF file, or a folder with *.safetensors and config.json, with genai_config.json, with "
        f"*.onnx, or with CTranslate2's model.bin; found {found}"
    )


def made(path: Path, kind: Kind, folder: Path, *, floats: bool, tokenizer: bool) -> Made:
    """Read it; what must be written is written into a folder.

    Args:
        floats: hold weights as float32, also where they come in fewer bits.
        tokenizer: whether its own is wanted; what a GGUF file carries is not always known here.

    Raises:
        ValueError: says what of it cannot be read, and why.
    """
    if kind is Kind.GENAI or kind is Kind.OPTIMUM:
        export = exports.genai(path) if kind is Kind.GENAI else exports.optimum(path)
        one = Made(kind, export.onnx, _there(export.folder), export.described)
        return one if export.encoder is None else _parted(one, export, folder)
    if kind is Kind.CTRANSLATE2:
        return _heard(Ctranslate2Whisper(path), folder)
    if kind is Kind.HUGGING_FACE:
        model = _converted(path)
        return Made(kind, _drawn(model.config, model, folder), _there(path), model.described())
    gguf = GgufModel(GgufFile(path))
    words = gguf.described()
    target = None
    if tokenizer:
        target = folder / "tokenizer.json"
        target.write_text(tokenizer_json(gguf.file.metadata), encoding="utf-8")
    weights: Weights = _Floats(gguf) if floats else gguf
    if floats:
        words = dataclasses.replace(words, notes=("weights held as float32", *words.notes[1:]))
    return Made(kind, _drawn(gguf.config, weights, folder), target, words)


def _converted(folder: Path) -> HuggingFaceModel:
    """Raises ValueError: it cannot be drawn; names the graphs that lie there, too."""
    try:
        return HuggingFaceModel(folder)
    except Unsupported as error:
        graphs = [*folder.glob("*.onnx"), *(folder / "onnx").glob("*.onnx")]
        if not graphs:
            raise
        listed = ", ".join(sorted(str(file.relative_to(folder)) for file in graphs)[:_MOST_LISTED])
        raise Unsupported(f"{error}; or name a file of its own: {listed}") from error


def _parted(one: Made, export: Export, folder: Path) -> Made:
    """With what is kept of the encoder's output computed by the encoder, once."""
    assert export.encoder is not None and export.first is not None
    decoder = memory.without_memory(load(export.onnx))
    encoder = memory.with_memory(load(export.encoder), load(export.first), decoder)
    written = [folder / "model.onnx", folder / "encoder.onnx"]
    for model, path in zip((decoder, encoder), written, strict=True):
        onnx.save(model, path)
    read = found.read_file(written[0], one.described.called).found
    verify.verify_steps(written[0], found.ports_of(decoder) or read.whole, read.vocabulary)
    return dataclasses.replace(one, onnx=written[0], encoder=written[1])


def _heard(model: Ctranslate2Whisper, folder: Path) -> Made:
    """Both halves of a Whisper, drawn."""
    words = model.described()
    graphs = model.graphs()
    decoder, encoder = (
        graphs[part].save(folder / name)
        for part, name in (("decoder", "model.onnx"), ("encoder", "encoder.onnx"))
    )
    return Made(Kind.CTRANSLATE2, decoder, _there(model.folder), words, encoder)


class _Floats:
    """Weights that are not handed out in few bits."""

    def __init__(self, source: Weights) -> None:
        self.array = source.array


def _drawn(config: decoder.DecoderConfig, weights: Weights, folder: Path) -> Path:
    return decoder.graph(config, weights=weights).save(folder / "model.onnx")


def _there(folder: Path) -> Path | None:
    path = folder / "tokenizer.json"
    return path if path.is_file() else None
