"""Toys of Whisper and T5 that write, and what native onnxruntime writes with them."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from tokenizers import Tokenizer

from inference.catalog import registry
from inference.checkpoints.described import Described
from inference.graph.decoding import found
from inference.graph.decoding.reference import Native
from inference.models import OnnxModel
from inference.zoo import listening
from inference.zoo.t5 import T5Config
from inference.zoo.whisper import WhisperConfig
from tests.support import decoders
from tests.support.zoo import run_model

BEGINS = (1, 2)
CONTEXT = 24
MELS, FRAMES = 8, 40
_WHISPER = WhisperConfig(
    vocabulary=decoders.VOCABULARY, target=CONTEXT, mels=MELS, source=FRAMES // 2
)
_T5 = T5Config(vocabulary=decoders.VOCABULARY)


@dataclasses.dataclass(frozen=True)
class Written:
    """The files of a model."""

    encoder: Path
    decoder: Path
    tokenizer: Path


def write(folder: Path) -> dict[str, Written]:
    """`hearer` listens to sound, `reader` to text."""
    path = folder / "tokenizer.json"
    decoders.tokenizer().save(str(path))
    drawn = {
        "hearer": listening.whisper_graphs(_WHISPER),
        "reader": listening.t5_graphs(_T5),
    }
    return {
        name: Written(
            graphs["encoder"].save(folder / f"{name}-encoder.onnx"),
            graphs["decoder"].save(folder / f"{name}.onnx"),
            path,
        )
        for name, graphs in drawn.items()
    }


def register(folder: str) -> dict[str, OnnxModel]:
    """Both models, from the files of `write`."""
    made = {}
    for name in ("hearer", "reader"):
        at = Path(folder)
        registry.add_model(at / f"{name}-encoder.onnx", name=f"{name}-encoder")
        described = Described(
            context=CONTEXT, encoder=f"{name}-encoder", begins=BEGINS, stop_tokens=(decoders.END,)
        )
        made[name] = registry.add_model(
            at / f"{name}.onnx",
            name=name,
            tokenizer=at / "tokenizer.json",
            described=described,
            drawn=True,
        )
    return made


def sound(seconds: float, rate: int, form: str) -> tuple[bytes, np.ndarray[Any, Any]]:
    """Some tones as a file, and its samples."""
    at = np.arange(int(seconds * rate)) / rate
    samples = 0.4 * np.sin(2 * np.pi * 440 * at) + 0.2 * np.sin(2 * np.pi * 3000 * at * at)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form)
    return file.getvalue(), samples


def greedy(files: Written, inputs: Mapping[str, Any], begins: Sequence[int], count: int) -> str:
    """The likeliest text of the uncut model."""
    return said(files, greedy_tokens(files, inputs, begins, count))


def greedy_tokens(
    files: Written,
    inputs: Mapping[str, Any],
    begins: Sequence[int],
    count: int,
    never: Sequence[int] = (),
    not_first: Sequence[int] = (),
) -> list[int]:
    """Its likeliest tokens up to its end, of `never` none, and of `not_first` none as the first."""
    memory = run_model(files.encoder, inputs)
    whole = found.read_file(files.decoder).found.whole
    native = Native([(files.decoder, whole)], memory)
    written: list[int] = []
    while len(written) < count and decoders.END not in written:
        row = native.step(written[-1:] or begins).copy()
        row[[*never, *(() if written else not_first)]] = -np.inf
        written.append(int(row.argmax()))
    return written


def said(files: Written, tokens: Sequence[int]) -> str:
    """Those tokens as text, without the end."""
    tokenizer = Tokenizer.from_file(str(files.tokenizer))
    text: str = tokenizer.decode([token for token in tokens if token != decoders.END])
    return text
