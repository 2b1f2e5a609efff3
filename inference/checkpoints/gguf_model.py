"""A decoder in a GGUF file: its sizes, its weights under the names of Hugging Face, what came with it."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np

from inference.checkpoints.architectures import MOST_POSITIONS, Sizes, Unsupported, config_of
from inference.checkpoints.described import Described
from inference.checkpoints.gguf_file import BadGguf, GgufFile, TensorInfo
from inference.checkpoints.gguf_types import TYPES
from inference.documents import Array
from inference.zoo.decoder import DecoderConfig, Rotation
from inference.zoo.layers.packed import Form, Packed

# Hugging Face's names of a layer's parts, by GGUF's.
_PARTS: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_NORMS: Final = {"ffn_norm": "post_attention_layernorm"}
_NORMS_OF_GEMMA: Final = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_WHOLE: Final = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_FREQUENCIES: Final = "rope_freqs.weight"


class GgufModel:
    """What a GGUF file holds.

    Raises:
        BadGguf: a tensor is missing, unknown, or has another shape than the sizes say.
        Unsupported: an architecture or a type of weights that cannot be held.
    """

    def __init__(self, file: GgufFile) -> None:
        self.file = file
        self.architecture = str(file.metadata.get("general.architecture", ""))
        self._names = self._named()
        self.config: DecoderConfig = config_of(self.architecture, self._sizes())
        refused = sorted({t.kind.name for t in file.tensors.values() if not t.kind.known})
        if refused:
            able = ", ".join(kind.name for kind in TYPES.values() if kind.known)
            raise Unsupported(
                f"it has weights of the type {', '.join(refused)}, which cannot be held exactly; expected "
                f"{able}"
            )

    def _named(self) -> dict[str, TensorInfo]:
        norms = _NORMS_OF_GEMMA if self.architecture == "gemma3" else _NORMS
        parts = {**_PARTS, **norms}
        named = {}
        for name, info in self.file.tensors.items():
            if name == _FREQUENCIES:
                continue
            stem, _, kind = name.rpartition(".")
            pieces = stem.split(".")
            if len(pieces) == 3 and pieces[0] == "blk" and pieces[2] in parts:
                named[f"model.layers.{pieces[1]}.{parts[pieces[2]]}.{kind}"] = info
            elif stem in _WHOLE:
                named[f"{_WHOLE[stem]}.{kind}"] = info
            else:
                raise Unsupported(
                    f"the tensor {name!r} has no place in the architecture {self.architecture!r} as it is "
                    "drawn here"
                )
        return named

    # --- sizes -----------------------------------------------------------------------------------

    def _sizes(self) -> Sizes:
        embedding = self._info("model.embed_tokens.weight")
        heads = self._number("attention.head_count")
        hidden = self._number("embedding_length")
        size = self._number("attention.key_length", hidden // max(heads, 1))
        if self._number("attention.value_length", size) != size:
            raise Unsupported("its values have heads of another size than its keys")
        if self._number("rope.dimension_count", size) != size:
            raise Unsupported("it rotates a part of each head only")
        return Sizes(
            layers=self._number("block_count"),
            hidden=hidden,
            heads=heads,
            groups=self._number("attention.head_count_kv", heads),
            head_size=size,
            intermediate=self._number("feed_forward_length"),
            vocabulary=embedding.shape[0],
            context=self._number("context_length"),
            epsilon=self._float("attention.layer_norm_rms_epsilon"),
            rotation=self._rotation(),
            tied="lm_head.weight" not in self._names,
            biases="model.layers.0.self_attn.q_proj.bias" in self._names,
            window=self._number("attention.sliding_window", 0),
        )

    def _rotation(self) -> Rotation:
        base = self._float("rope.freq_base", 10_000.0)
        how = self._entry("rope.scaling.type", "none")
        if how not in ("none", "linear"):
            raise Unsupported(f"its positions are scaled by {how!r}; expected none or linear")
        factor = self._float("rope.scaling.factor", 1.0) if how == "linear" else 1.0
        rates: tuple[float, ...] = ()
        if (info := self.file.tensors.get(_FREQUENCIES)) is not None:
            rates = tuple(info.kind.values(self.file.raw(info)).ravel().tolist())
        return Rotation(base, factor, divisors=rates)

    def _entry(self, key: str, default: Any = None) -> Any:
        return self.file.metadata.get(f"{self.architecture}.{key}", default)

    def _number(self, key: str, default: int | None = None) -> int:
        value = self._entry(key, default)
        if isinstance(value, list) and len(set(value)) == 1:
            value = value[0]
        if not isinstance(value, int) or isinstance(value, bool):
            raise BadGguf(f"{self.architecture}.{key}: expected a whole number, got {value!r:.80}")
        return value

    def _float(self, key: str, default: float | None = None) -> float:
        value = self._entry(key, default)
        if not isinstance(value, float):
            raise BadGguf(f"{self.architecture}.{key}: expected a number, got {value!r:.80}")
        return value

    # --- weights ---------------------------------------------------------------------------------

    def _info(self, name: str) -> TensorInfo:
        if name not in self._names:
            raise BadGguf(f"it lacks the weight {name!r}: it is no whole model")
        return self._names[name]

    def array(self, name: str, shape: tuple[int, ...], *, mean: float, spread: float) -> Array:
        """A weight in floats."""
        info = self._info(name)
        if info.shape != shape:
            raise BadGguf(f"weight {name!r}: expected shape {shape}, got {info.shape}")
        values = info.kind.values(self.file.raw(info)).reshape(shape)
        return values[self._rows(name, shape[0])]

    def form(self, name: str) -> Form | None:
        info = self._info(name)
        if info.kind.unpack is None or len(info.shape) != 2:
            return None
        return Form(info.kind.bits, info.kind.shared, zeros=info.kind.middle is None)

    def packed(self, name: str) -> Packed:
        info = self._info(name)
        assert info.kind.unpack is not None
        made = info.kind.unpack(self.file.raw(info))
        rows = self._rows(name, info.shape[0])
        levels, scales, offsets = made.levels[rows], made.scales[rows], made.offsets[rows]
        if info.kind.middle is not None:
            return Packed(levels, scales)
        # (level - zero) · scale: where the scale is 0, the offset is all there is.
        flat = scales == 0
        zeros = np.where(flat, -offsets, -offsets / np.where(flat, 1, scales))
        levels = np.where(np.repeat(flat, info.kind.shared, axis=1), 0, levels).astype(np.uint8)
        return Packed(levels, np.where(flat, 1, scales), zeros.astype(np.float32))

    def _rows(self, name: str, count: int) -> Any:
        """Which rows are taken in which order: llama.cpp turns neighbours, and keeps these rows so."""
        part = name.rpartition(".")[0].rpartition(".")[2]
        if self.architecture != "llama" or part not in ("q_proj", "k_proj"):
            return slice(None)
        size = self.config.head_size
        order = np.arange(count).reshape(count // size, size // 2, 2)
        return order.swapaxes(1, 2).reshape(-1)

    # --- what came with it -----------------------------------------------------------------------

    def described(self) -> Described:
        """What its metadata tell besides sizes."""
        metadata = self.file.metadata
        tokens = metadata.get("tokenizer.ggml.tokens", [])
        special, ends = {}, []
        for role in ("bos", "eos", "unknown", "padding"):
            number = metadata.get(f"tokenizer.ggml.{role}_token_id")
            if isinstance(number, int) and number < len(tokens):
                short = {"unknown": "unk", "padding": "pad"}.get(role, role)
                special[f"{short}_token"] = tokens[number]
        for role in ("eos", "eot", "eom"):
            number = metadata.get(f"tokenizer.ggml.{role}_token_id")
            if isinstance(number, int) and number not in ends:
                ends.append(number)
        context = self._number("context_length")
        kinds = Counter(info.kind.name for info in self.file.tensors.values())
        notes = [f"weights held as they are: {', '.join(f'{n} {k}' for k, n in kinds.items())}"]
        if context > MOST_POSITIONS:
            notes.append(f"its context of {context} positions is cut to {MOST_POSITIONS}")
        return Described(
            architecture=self.architecture,
            context=self.config.context,
            stop_tokens=tuple(ends),
            chat_template=str(metadata.get("tokenizer.chat_template", "")),
            special=special,
            notes=tuple(notes),
        )
