"""Small GGUF files, written by the format's own library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from tokenizers import pre_tokenizers

Array = np.ndarray[Any, Any]
LAYERS, HIDDEN, HEADS, GROUPS, INNER, CONTEXT = 2, 64, 4, 2, 96, 128
SIZE = HIDDEN // HEADS
TOKENS = [
    *sorted(pre_tokenizers.ByteLevel.alphabet()),
    "<|im_start|>",
    "<|im_end|>",
    "he",
    "ll",
    "llo",
]
MERGES = ["h e", "l l", "ll o"]
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def shapes() -> dict[str, tuple[int, ...]]:
    """Of a two-layer Llama's tensors, by GGUF's names."""
    made: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(TOKENS), HIDDEN),
        "output_norm.weight": (HIDDEN,),
    }
    for layer in range(LAYERS):
        at = f"blk.{layer}."
        made |= {at + "attn_norm.weight": (HIDDEN,), at + "ffn_norm.weight": (HIDDEN,)}
        made |= {
            f"{at}{name}.weight": shape
            for name, shape in {
                "attn_q": (HIDDEN, HIDDEN),
                "attn_k": (GROUPS * SIZE, HIDDEN),
                "attn_v": (GROUPS * SIZE, HIDDEN),
                "attn_output": (HIDDEN, HIDDEN),
                "ffn_gate": (INNER, HIDDEN),
                "ffn_up": (INNER, HIDDEN),
                "ffn_down": (HIDDEN, INNER),
            }.items()
        }
    return made


def write(
    path: Path,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    *,
    arrays: Mapping[str, Array] | None = None,
    entries: Mapping[str, Any] | None = None,
    architecture: str = "llama",
) -> Path:
    """A Llama whose matrices have that type; `arrays` instead of its own, `entries` beside its metadata."""
    writer = GGUFWriter(path, architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(GROUPS)
    writer.add_rope_dimension_count(SIZE)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    control = ("<|im_start|>", "<|im_end|>")
    writer.add_token_types([3 if token in control else 1 for token in TOKENS])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(257)
    writer.add_chat_template(TEMPLATE)
    for key, value in (entries or {}).items():
        add = writer.add_string if isinstance(value, str) else writer.add_uint32
        add(key, value)
    for name, array in tensors(kind, arrays).items():
        raw = isinstance(array, np.ndarray) and array.dtype == np.uint8
        writer.add_tensor(name, array, raw_dtype=kind if raw else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors(
    kind: GGMLQuantizationType, arrays: Mapping[str, Array] | None = None
) -> dict[str, Array]:
    """Each tensor as it is written: matrices of that type, the rest float32."""
    from gguf import quants

    random = np.random.default_rng(5)
    made = {}
    for name, shape in shapes().items():
        array = (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)
        array = (arrays or {}).get(name, array if len(shape) > 1 else array + 1)
        floats = kind == GGMLQuantizationType.F32 or len(shape) == 1
        made[name] = array if floats else quants.quantize(array, kind)
    return made
