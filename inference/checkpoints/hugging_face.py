"""A decoder in a Hugging Face folder: config.json, safetensors files, and what lies beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError, safe_open

from inference.checkpoints.architectures import (
    MOST_POSITIONS,
    Sizes,
    Unsupported,
    check_architecture,
    config_of,
)
from inference.checkpoints.described import Described
from inference.checkpoints.documents import described, read_json
from inference.documents import Array
from inference.zoo.decoder import DecoderConfig, Rotation

_ARCHITECTURES: Final = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma3_text": "gemma3",
}
# What is drawn computes as if these were so.
_EXPECTED: Final[Mapping[str, tuple[Any, ...]]] = {
    "mlp_bias": (None, False),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "use_bidirectional_attention": (None, False),
    "hidden_act": (None, "silu", "gelu_pytorch_tanh"),
    "hidden_activation": (None, "gelu_pytorch_tanh"),
    "use_sliding_window": (None, False),
    "quantization_config": (None,),
}
_FLOATS: Final = ("F32", "F16", "BF16")


class HuggingFaceModel:
    """What a folder holds.

    Raises:
        Unsupported: an architecture, or a way of computing, that cannot be drawn.
        ValueError: a file is missing, truncated, or says something that cannot be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._config = read_json(folder / "config.json")
        kind = self._config.get("model_type")
        self.architecture = _ARCHITECTURES.get(str(kind), str(kind))
        check_architecture(self.architecture)
        for key, able in _EXPECTED.items():
            if self._config.get(key) not in able:
                raise Unsupported(
                    f"config.json has {key} {self._config[key]!r:.80}; expected "
                    f"{' or '.join(repr(one) for one in able)}"
                )
        self._files = _tensor_files(folder)
        self.config: DecoderConfig = config_of(self.architecture, self._sizes())

    # --- sizes -----------------------------------------------------------------------------------

    def _sizes(self) -> Sizes:
        heads, hidden = self._number("num_attention_heads"), self._number("hidden_size")
        kinds = self._config.get("layer_types")
        gemma = self.architecture == "gemma3"
        score = self._config.get("query_pre_attn_scalar")
        return Sizes(
            layers=self._number("num_hidden_layers"),
            hidden=hidden,
            heads=heads,
            groups=self._number("num_key_value_heads", heads),
            head_size=self._number("head_dim", hidden // max(heads, 1)),
            intermediate=self._number("intermediate_size"),
            vocabulary=self._number("vocab_size"),
            context=self._number("max_position_embeddings"),
            epsilon=self._float("rms_norm_eps"),
            rotation=self._rotation(),
            tied="lm_head.weight" not in self._files,
            biases="model.layers.0.self_attn.q_proj.bias" in self._files,
            window=self._number("sliding_window", 0) if gemma else 0,
            windowed=tuple(one == "sliding_attention" for one in kinds)
            if isinstance(kinds, list) and gemma
            else (),
            local_base=self._float("rope_local_base_freq", 10_000.0),
            score=float(score) ** -0.5 if isinstance(score, int | float) and gemma else 0.0,
        )

    def _rotation(self) -> Rotation:
        how = self._config.get("rope_scaling") or {}
        base = self._float("rope_theta", 10_000.0)
        if isinstance(parameters := self._config.get("rope_parameters"), dict):
            how = parameters.get("full_attention", parameters)
            base = float(how.get("rope_theta", base))
        kind = how.get("rope_type", how.get("type", "default"))
        try:
            if kind == "default":
                return Rotation(base)
            if kind == "linear":
                return Rotation(base, float(how["factor"]))
            if kind == "llama3":
                scaling = [float(how[f"{one}factor"]) for one in ("", "low_freq_", "high_freq_")]
                trained = int(how["original_max_position_embeddings"])
                return Rotation(base, llama3=(scaling[0], scaling[1], scaling[2], trained))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"config.json: rope_scaling cannot be read: {error!r}") from error
        raise Unsupported(
            f"config.json scales positions by {kind!r}; expected default, linear or llama3"
        )

    def _number(self, key: str, default: int | None = None) -> int:
        value = self._config.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"config.json: {key}: expected a whole number, got {value!r:.80}")
        return value

    def _float(self, key: str, default: float | None = None) -> float:
        value = self._config.get(key)
        value = default if value is None else value
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"config.json: {key}: expected a number, got {value!r:.80}")
        return float(value)

    # --- weights ---------------------------------------------------------------------------------

    def array(self, name: str, shape: tuple[int, ...], *, mean: float, spread: float) -> Array:
        """A weight in floats; of Gemma's norms with the one added that it is used with."""
        if name not in self._files:
            raise ValueError(f"its safetensors lack the weight {name!r}: it is no whole model")
        with _opened(self._files[name]) as file:
            part = file.get_slice(name)
            if tuple(part.get_shape()) != shape:
                raise ValueError(
                    f"weight {name!r}: expected shape {shape}, got {tuple(part.get_shape())}"
                )
            if part.get_dtype() not in _FLOATS:
                raise Unsupported(
                    f"weight {name!r} is {part.get_dtype()}; expected {', '.join(_FLOATS)}"
                )
            found: Array = file.get_tensor(name).astype(np.float32)
        return found + 1 if self.architecture == "gemma3" and "norm" in name else found

    # --- what came with it -----------------------------------------------------------------------

    def described(self) -> Described:
        """What its other files tell."""
        context = self._number("max_position_embeddings")
        kinds: Counter[str] = Counter()
        for name, path in self._files.items():
            with _opened(path) as file:
                kinds[file.get_slice(name).get_dtype()] += 1
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        notes = [f"weights held as float32; they came as {told}"]
        if context > MOST_POSITIONS:
            notes.append(f"its context of {context} positions is cut to {MOST_POSITIONS}")
        return described(
            self.folder, architecture=self.architecture, context=self.config.context, notes=notes
        )


def _opened(path: Path) -> Any:
    try:
        return safe_open(str(path), framework="np")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path.name} is no complete safetensors file: {error}") from error


def _tensor_files(folder: Path) -> dict[str, Path]:
    """Which file holds each weight."""
    index = read_json(folder / "model.safetensors.index.json").get("weight_map")
    names = sorted(set(map(str, index.values()))) if isinstance(index, dict) else []
    paths = [folder / Path(name).name for name in names] or sorted(folder.glob("*.safetensors"))
    found: dict[str, Path] = {}
    for path in paths:
        if not path.is_file():
            raise ValueError(f"{path.name} is missing; its index names it")
        with _opened(path) as file:
            found |= dict.fromkeys(file.keys(), path)  # noqa: SIM118: no mapping
    return found
