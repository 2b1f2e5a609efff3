"""GGUF files: read as the format's own library reads them, drawn right, refused when they are damaged."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Q
from gguf import quants
from tokenizers import Tokenizer

from inference.checkpoints.architectures import Unsupported
from inference.checkpoints.gguf_file import BadGguf, GgufFile
from inference.checkpoints.gguf_model import GgufModel
from inference.checkpoints.gguf_tokenizer import tokenizer_json
from inference.checkpoints.gguf_types import TYPES
from inference.checkpoints.reading import Kind, made
from inference.graph.decoding import found
from inference.graph.decoding.reference import Native
from tests.support import gguf_files

KNOWN = sorted(number for number, kind in TYPES.items() if kind.known)
PACKED = [Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q8_0]


@pytest.mark.parametrize("number", [n for n in KNOWN if n > Q.F16])
def test_a_types_weights_are_exactly_those_of_the_formats_library(number: int) -> None:
    kind = TYPES[number]
    raw = np.random.default_rng(number).integers(0, 256, (3, 4 * kind.nbytes), dtype=np.uint8)
    with np.errstate(all="ignore"):
        got, wanted = kind.values(raw), quants.dequantize(raw, Q(number))
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(got[finite], wanted[finite])


def test_every_types_size_is_that_of_the_formats_library() -> None:
    sizes = {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    for number, kind in TYPES.items():
        assert (kind.elements, kind.nbytes) == sizes[number], kind.name


@pytest.mark.parametrize("kind", PACKED, ids=lambda kind: kind.name)
def test_packed_weights_answer_as_their_numbers_in_float32(kind: Q, tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "m.gguf", kind)
    logits = []
    for floats in (False, True):
        folder = tmp_path / str(floats)
        folder.mkdir()
        one = made(path, Kind.GGUF, folder, floats=floats, tokenizer=True)
        read = found.read_file(one.onnx)
        native = Native([(one.onnx, read.found.whole)])
        logits.append([native.step(step) for step in ([3, 1, 200, 7], [9], [4, 5])])
    np.testing.assert_allclose(logits[0], logits[1], atol=2e-5)
    sizes = [(tmp_path / str(f) / "model.onnx").stat().st_size for f in (False, True)]
    assert sizes[0] < sizes[1]


def test_rows_that_llama_cpp_turned_are_turned_back(tmp_path: Path) -> None:
    rows = gguf_files.HIDDEN
    matrix = np.arange(rows * rows, dtype=np.float32).reshape(rows, rows)
    heads, size = gguf_files.HEADS, gguf_files.SIZE
    # convert_hf_to_gguf.py: LlamaModel.permute
    turned = matrix.reshape(heads, 2, size // 2, rows).swapaxes(1, 2).reshape(rows, rows)
    path = gguf_files.write(tmp_path / "m.gguf", arrays={"blk.0.attn_q.weight": turned})
    model = GgufModel(GgufFile(path))
    name = "model.layers.0.self_attn.q_proj.weight"
    np.testing.assert_array_equal(model.array(name, (rows, rows), mean=0, spread=0), matrix)


def test_what_came_with_it(tmp_path: Path) -> None:
    model = GgufModel(GgufFile(gguf_files.write(tmp_path / "m.gguf", Q.Q4_1)))
    words = model.described()
    assert (words.architecture, words.context, words.stop_tokens) == ("llama", 128, (257,))
    assert words.special == {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    assert words.chat_template == gguf_files.TEMPLATE
    assert words.notes == ("weights held as they are: 15 Q4_1, 5 F32",)


def test_its_tokenizer(tmp_path: Path) -> None:
    metadata = GgufFile(gguf_files.write(tmp_path / "m.gguf")).metadata
    tokenizer = Tokenizer.from_str(tokenizer_json(metadata))
    assert tokenizer.encode("<|im_start|>hello 12").tokens == [
        "<|im_start|>", "he", "llo", "Ġ", "1", "2"
    ]  # fmt: skip
    assert tokenizer.decode(tokenizer.encode("héllo\n").ids) == "héllo\n"


def test_other_tokenizers_are_refused_by_name(tmp_path: Path) -> None:
    metadata = GgufFile(gguf_files.write(tmp_path / "m.gguf")).metadata
    with pytest.raises(Unsupported, match="of the kind 'llama'; expected gpt2"):
        tokenizer_json({**metadata, "tokenizer.ggml.model": "llama"})
    with pytest.raises(Unsupported, match="splits texts as 'poro'"):
        tokenizer_json({**metadata, "tokenizer.ggml.pre": "poro"})


def test_other_architectures_and_types_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="the architecture 'mamba' cannot be converted"):
        file = gguf_files.write(tmp_path / "a.gguf", architecture="mamba")
        GgufModel(GgufFile(file))
    with pytest.raises(Unsupported, match="weights of the type Q5_1, which cannot be held exactly"):
        GgufModel(GgufFile(gguf_files.write(tmp_path / "t.gguf", Q.Q5_1)))
    with pytest.raises(Unsupported, match="its positions are scaled by 'yarn'"):
        entries = {"llama.rope.scaling.type": "yarn"}
        GgufModel(GgufFile(gguf_files.write(tmp_path / "y.gguf", entries=entries)))


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = gguf_files.write(tmp_path / "m.gguf", Q.Q8_0).read_bytes()
    short = tmp_path / "short.gguf"
    random = np.random.default_rng(0)
    for size in [0, 3, 4, 12, 30, len(whole) - 1, *random.integers(0, len(whole), 60)]:
        short.write_bytes(whole[: int(size)])
        with pytest.raises(BadGguf, match=r"truncated|empty|begins with GGUF"):
            GgufFile(short)


def test_lying_numbers_are_refused(tmp_path: Path) -> None:
    raw = bytearray(gguf_files.write(tmp_path / "m.gguf", Q.Q8_0).read_bytes())
    lying = tmp_path / "lying.gguf"

    def refused(at: int, packed: bytes, match: str) -> None:
        changed = bytearray(raw)
        changed[at : at + len(packed)] = packed
        lying.write_bytes(changed)
        with pytest.raises(BadGguf, match=match):
            GgufFile(lying)

    refused(0, b"GGML", "begins with GGUF")
    refused(4, struct.pack("<I", 1), "version 2 or 3, little-endian, got 1")
    refused(8, struct.pack("<Q", 2**60), "more than its")
    refused(16, struct.pack("<Q", 2**60), "more than its")
    refused(24, struct.pack("<Q", 2**63), "are left: it is truncated or damaged")
    name = raw.index(b"token_embd.weight") + len("token_embd.weight")
    refused(name, struct.pack("<I", 9), "expected 1 to 4 dimensions, got 9")
    refused(name + 4, struct.pack("<Q", 2**40), "is said to end at byte")
    refused(name + 20, struct.pack("<I", 99), "unknown type 99")
    refused(name + 24, struct.pack("<Q", 2**50), "is said to end at byte")


def test_a_missing_tensor_is_told(tmp_path: Path) -> None:
    raw = gguf_files.write(tmp_path / "m.gguf").read_bytes()
    (tmp_path / "n.gguf").write_bytes(raw.replace(b"blk.1.ffn_up", b"blk.2.ffn_up"))
    with pytest.raises(BadGguf, match=r"lacks the weight 'model.layers.1.mlp.up_proj.weight'"):
        made(tmp_path / "n.gguf", Kind.GGUF, tmp_path, floats=True, tokenizer=False)
