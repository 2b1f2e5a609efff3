"""The tokenizer in a GGUF file as a tokenizer.json: byte-level BPE, as GPT-2 began it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from inference.checkpoints.architectures import Unsupported
from inference.checkpoints.gguf_file import BadGguf
from inference.documents import JsonView

_CONTROL, _USER = 3, 4  # types of tokens that are no merges
_LETTERS: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST: Final = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# How texts are split before bytes are merged, by the name that llama.cpp gives it.
_SPLITS: Final[Mapping[str, str]] = {
    "llama-bpe": _LETTERS + r"\p{N}{1,3}" + _REST,
    "qwen2": _LETTERS + r"\p{N}" + _REST,
}
_GPT2: Final = ("gpt-2", "default")
_DIGITS: Final = ("smollm",)


def tokenizer_json(metadata: JsonView) -> str:
    """The text of a tokenizer.json.

    Raises:
        BadGguf: parts of it are missing.
        Unsupported: another kind of tokenizer, or one that splits in a way nothing is known of.
    """
    kind = metadata.get("tokenizer.ggml.model")
    if kind != "gpt2":
        raise Unsupported(
            f"its tokenizer is of the kind {kind!r}; expected gpt2 (byte-level BPE), or the model's "
            "tokenizer.json (--tokenizer)"
        )
    tokens, merges, kinds = (
        _listed(metadata, name, of)
        for name, of in (("tokens", str), ("merges", str), ("token_type", int))
    )
    if len(kinds) != len(tokens):
        raise BadGguf(f"its tokenizer has {len(tokens)} tokens and types of {len(kinds)}")
    pairs = [_pair(merge) for merge in merges]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    try:
        made = Tokenizer(models.BPE(vocabulary, pairs))
    except Exception as error:  # tokenizers raises a bare Exception
        raise BadGguf(f"its tokenizer cannot be built: {error}") from error
    how = str(metadata.get("tokenizer.ggml.pre", "default"))
    made.pre_tokenizer = _splitting(how)
    if how == "qwen2":
        made.normalizer = normalizers.NFC()
    made.decoder = decoders.ByteLevel()
    for number, (token, one) in enumerate(zip(tokens, kinds, strict=True)):
        if one in (_CONTROL, _USER):
            made.add_tokens([AddedToken(token, normalized=False, special=one == _CONTROL)])
            if made.token_to_id(token) != number:
                raise BadGguf(f"its tokenizer has the token {token!r} twice")
    first = metadata.get("tokenizer.ggml.bos_token_id")
    if metadata.get("tokenizer.ggml.add_bos_token") and isinstance(first, int):
        begin = tokens[first]
        made.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A {begin} $B", special_tokens=[(begin, first)]
        )
    return str(made.to_str())


def _listed(metadata: JsonView, name: str, of: type) -> list[Any]:
    found = metadata.get(f"tokenizer.ggml.{name}")
    if not isinstance(found, list) or not all(isinstance(item, of) for item in found):
        raise BadGguf(f"tokenizer.ggml.{name}: expected a list, got {found!r:.80}")
    return found


def _pair(merge: str) -> tuple[str, str]:
    first, space, second = merge.partition(" ")
    if not (first and space and second):
        raise BadGguf(f"tokenizer.ggml.merges: expected two tokens and a space, got {merge!r:.80}")
    return first, second


def _splitting(how: str) -> Any:
    if how in _GPT2:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if how in _DIGITS:
        return pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    if how not in _SPLITS:
        raise Unsupported(
            f"its tokenizer splits texts as {how!r}; expected one of "
            f"{', '.join((*_GPT2, *_DIGITS, *_SPLITS))}, or the model's tokenizer.json (--tokenizer)"
        )
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLITS[how]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
