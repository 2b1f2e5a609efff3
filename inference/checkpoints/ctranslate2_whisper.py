"""Whisper as faster-whisper has it: a CTranslate2 folder with model.bin and tokenizer.json."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from inference.checkpoints.architectures import Unsupported
from inference.checkpoints.ctranslate2_file import BadCtranslate2, Ctranslate2File
from inference.checkpoints.described import Described
from inference.checkpoints.documents import read_json
from inference.checkpoints.suppressed import suppressed
from inference.documents import Array
from inference.zoo import listening
from inference.zoo.graph import Graph, Parameter
from inference.zoo.whisper import WhisperConfig

_SPEC: Final = "WhisperSpec"
_PLACES: Final = "model.encoder.embed_positions.weight"
_FLOATS: Final = ("float32", "float16", "bfloat16")
_MULTILINGUAL: Final = 51_865  # tokens of the smallest vocabulary with languages
_MOST_TIMES: Final = 4  # bytes of what is drawn, over the file's
_MOST_BESIDE: Final = 2**24  # and so many more
_GELU: Final = 3  # of ctranslate2's activations the exact one
# Hugging Face's layers by CTranslate2's, and which third or half of a fused one.
_FUSED: Final = {
    "self_attn.q_proj": ("self_attention/linear_0", 0, 3),
    "self_attn.k_proj": ("self_attention/linear_0", 1, 3),
    "self_attn.v_proj": ("self_attention/linear_0", 2, 3),
    "self_attn.out_proj": ("self_attention/linear_1", 0, 1),
    "encoder_attn.q_proj": ("attention/linear_0", 0, 1),
    "encoder_attn.k_proj": ("attention/linear_1", 0, 2),
    "encoder_attn.v_proj": ("attention/linear_1", 1, 2),
    "encoder_attn.out_proj": ("attention/linear_2", 0, 1),
    "fc1": ("ffn/linear_0", 0, 1),
    "fc2": ("ffn/linear_1", 0, 1),
}
_NORMS: Final = {
    "self_attn_layer_norm": "self_attention/layer_norm",
    "encoder_attn_layer_norm": "attention/layer_norm",
    "final_layer_norm": "ffn/layer_norm",
    "layer_norm": "layer_norm",
}
_WHOLE: Final = {
    "embed_tokens.weight": "embeddings/weight",
    "embed_positions.weight": "position_encodings/encodings",
}
# What is drawn computes so.
_WAYS: Final = {
    "pre_norm": 1,
    "activation": _GELU,
    "alibi": 0,
    "scale_embeddings": 0,
    "start_from_zero_embedding": 0,
}
_NORM_PARTS: Final = {"weight": "gamma", "bias": "beta"}


class Ctranslate2Whisper:
    """What a folder holds.

    Raises:
        Unsupported: another architecture, another way of computing, or weights in a type that is not held.
        ValueError: a file is missing, truncated, or says something that cannot be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = Ctranslate2File(folder / "model.bin")
        if self.file.architecture != _SPEC:
            raise Unsupported(
                f"a CTranslate2 model of {self.file.architecture!r} cannot be converted; expected Whisper"
            )
        self._check_sizes()
        self._check_ways()
        self.config = self._sized()
        self._tokens = _special_tokens(folder)

    def graphs(self) -> Mapping[str, Graph]:
        """As `listening.whisper_graphs`, with its own positions of the encoder, which are drawn elsewhere."""
        drawn = listening.whisper_graphs(self.config, weights=self)
        sizes = (self.config.source, self.config.hidden)
        places = Parameter(
            np.dtype(np.float32), sizes, lambda: self.array(_PLACES, sizes, mean=0, spread=0)
        )
        weights = {**drawn["encoder"].weights, _PLACES: places}
        return {**drawn, "encoder": dataclasses.replace(drawn["encoder"], weights=weights)}

    # --- sizes -----------------------------------------------------------------------------------

    def _check_sizes(self) -> None:
        """Each name is written out, also where several name one variable; float16 in twice its bytes."""
        bytes_there = self.file.size
        kinds = [one for one in self.file.variables.values() if one.type_name in _FLOATS]
        drawn = sum(math.prod(one.shape) for one in kinds) * np.dtype(np.float32).itemsize
        if drawn > _MOST_TIMES * bytes_there + _MOST_BESIDE:
            raise BadCtranslate2(
                f"its names make weights of {drawn:,} bytes of a file of {bytes_there:,}; expected at most "
                f"{_MOST_TIMES} times as many: too many names of one variable"
            )

    def _sized(self) -> WhisperConfig:
        hidden, mels, width = self._shape("encoder/conv1/weight", 3)
        if width != 3:
            raise Unsupported(f"its first convolution sees {width} frames; expected 3")
        heads = {self._number(f"{part}/num_heads") for part in ("encoder", "decoder")}
        if len(heads) != 1 or (count := heads.pop()) < 1 or hidden % count:
            raise Unsupported(
                f"{hidden} channels cannot be divided among its heads, or its halves have not as many"
            )
        return WhisperConfig(
            encoder_layers=self._layers("encoder"),
            decoder_layers=self._layers("decoder"),
            hidden=hidden,
            heads=count,
            intermediate=self._shape("encoder/layer_0/ffn/linear_0/weight", 2)[0],
            vocabulary=self._shape("decoder/embeddings/weight", 2)[0],
            mels=mels,
            source=self._shape("encoder/position_encodings/encodings", 2)[0],
            target=self._shape("decoder/position_encodings/encodings", 2)[0],
        )

    def _layers(self, part: str) -> int:
        found = re.compile(rf"{part}/layer_(\d+)/")
        numbers = {int(match[1]) for name in self.file.variables if (match := found.match(name))}
        if not numbers or numbers != set(range(len(numbers))):
            raise BadCtranslate2(f"the layers of its {part} are not numbered from 0 on")
        return len(numbers)

    def _shape(self, name: str, rank: int) -> tuple[int, ...]:
        one = self.file.variables.get(name)
        if one is None or len(one.shape) != rank or 0 in one.shape:
            raise BadCtranslate2(
                f"{name}: expected {rank} dimensions, got {list(one.shape) if one else 'none'}"
            )
        return one.shape

    def _number(self, name: str, default: int | None = None) -> int:
        if default is not None and name not in self.file.variables:
            return default
        found = self.file.array(name)
        if found.size != 1:
            raise BadCtranslate2(f"{name}: expected one number, got {found.size}")
        number = float(found.reshape(())[()])
        if not number.is_integer():  # nor NaN and infinity
            raise BadCtranslate2(f"{name}: expected a whole number, got {number:g}")
        return int(number)

    def _check_ways(self) -> None:
        for key, able in _WAYS.items():
            if (found := self._number(f"decoder/{key}", able)) != able:
                raise Unsupported(f"its decoder has {key} {found}; expected {able}")

    # --- weights ---------------------------------------------------------------------------------

    def array(self, name: str, shape: tuple[int, ...], *, mean: float, spread: float) -> Array:
        """A weight in floats, under the name that Hugging Face has for it."""
        own, part, parts = _own_name(name)
        if own not in self.file.variables:
            raise BadCtranslate2(f"it lacks {own!r}: it is no whole model")
        kind = self.file.variables[own].type_name
        if kind not in _FLOATS:
            raise Unsupported(
                f"{own!r} is {kind}; expected {', '.join(_FLOATS)}: convert it anew in one of them"
            )
        found = self.file.array(own)
        rows = found.shape[0] // parts if found.ndim else 0
        piece = found[part * rows : (part + 1) * rows]
        if piece.shape != shape or rows * parts != found.shape[0]:
            raise BadCtranslate2(
                f"{own!r}: expected shape {list(shape)} of each of {parts}, got {list(found.shape)}"
            )
        if name.endswith("q_proj.bias"):
            self._check_keys(own, rows, parts)
        return piece.astype(np.float32)

    def _check_keys(self, own: str, rows: int, parts: int) -> None:
        """Whisper's keys have no bias, and what is drawn has none."""
        fused = self.file.array(own)
        if parts == 1:  # of the encoder's keys and values
            fused = self.file.array(own.replace("linear_0", "linear_1"))
            keys = fused[: len(fused) // 2]
        else:
            keys = fused[rows : 2 * rows]
        if keys.any():
            raise Unsupported(f"{own!r} has a bias of keys; expected none")

    # --- what came with it -----------------------------------------------------------------------

    def described(self) -> Described:
        """What its tokens are, and in what form its weights came."""
        begins = [self._token("<|startoftranscript|>")]
        languages = self.config.vocabulary >= _MULTILINGUAL
        if languages:
            begins += [self._token("<|en|>"), self._token("<|transcribe|>")]
        begins.append(self._token("<|notimestamps|>"))
        kinds = Counter(one.type_name for one in self.file.variables.values() if one.shape)
        never = suppressed(
            read_json(self.folder / "config.json"), "suppress_ids", "suppress_ids_begin"
        )
        said = f"its texts begin with the tokens {', '.join(map(str, begins))}"
        return Described(
            architecture="whisper",
            context=self.config.target,
            stop_tokens=(self._token("<|endoftext|>"),),
            begins=tuple(begins),
            suppress_tokens=never.tokens,
            begin_suppress_tokens=never.first,
            notes=(
                f"weights held as float32; they came as {', '.join(f'{n} {k}' for k, n in kinds.items())}",
                f"{said}: English, unless another language is asked for" if languages else said,
                *never.notes,
            ),
        )

    def _token(self, text: str) -> int:
        number = self._tokens.get(text)
        if number is None or not 0 <= number < self.config.vocabulary:
            raise ValueError(
                f"tokenizer.json: expected a token {text} of its {self.config.vocabulary}"
            )
        return number


def _special_tokens(folder: Path) -> dict[str, int]:
    """The numbers of what tokenizer.json adds to its vocabulary, by text."""
    added = read_json(folder / "tokenizer.json").get("added_tokens")
    pairs = [
        (one.get("content"), one.get("id"))
        for one in (added if isinstance(added, list) else [])
        if isinstance(one, dict)
    ]
    return {text: n for text, n in pairs if isinstance(text, str) and isinstance(n, int)}


def _own_name(name: str) -> tuple[str, int, int]:
    """CTranslate2's name of a weight of Hugging Face's, and which part of how many of its rows it is."""
    _, side, rest = name.split(".", 2)  # model.encoder.… or model.decoder.…
    if rest in _WHOLE:
        return f"{side}/{_WHOLE[rest]}", 0, 1
    where = side
    if match := re.fullmatch(r"layers\.(\d+)\.(.+)", rest):
        where, rest = f"{side}/layer_{match[1]}", match[2]
    module, _, kind = rest.rpartition(".")
    if module in _NORMS:
        return f"{where}/{_NORMS[module]}/{_NORM_PARTS[kind]}", 0, 1
    own, part, parts = _FUSED.get(module, (module, 0, 1))
    return f"{where}/{own}/{kind}", part, parts
