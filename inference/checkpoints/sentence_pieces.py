"""SentencePiece's BPE from tokens and scores: Llama 2's and Gemma's tokenizers in GGUF files.

It joins two neighbours whose joint token has the best score; the merges of a tokenizer.json are those joints
in the order of their scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from tokenizers import Tokenizer, decoders, models, normalizers

from inference.checkpoints.gguf_file import BadGguf
from inference.documents import JsonView

NORMAL, UNKNOWN, CONTROL, USER = 1, 2, 3, 4
"""Types of tokens."""

_SPACE: Final = "▁"
_MOST_LENGTH: Final = 128  # of a token that is joined: longer ones would take the square of it


def sentence_pieces(metadata: JsonView, tokens: list[str], kinds: list[int]) -> Tokenizer:
    """The tokenizer, without its special tokens.

    Raises:
        BadGguf: its scores are missing.
    """
    scores = metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) != len(tokens):
        raise BadGguf(f"tokenizer.ggml.scores: expected {len(tokens)} numbers, got {scores!r:.80}")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    found = sorted(_joints(vocabulary, kinds, scores), key=lambda one: one[0])
    unknown = next(
        (token for token, kind in zip(tokens, kinds, strict=True) if kind == UNKNOWN), None
    )
    made = Tokenizer(
        models.BPE(
            vocabulary,
            [pair for _, pair in found],
            unk_token=unknown,
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    prefix = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    spaces = normalizers.Replace(" ", _SPACE)
    made.normalizer = (
        normalizers.Sequence([normalizers.Prepend(_SPACE), spaces]) if prefix else spaces
    )
    parts = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*parts, *([decoders.Strip(" ", 1, 0)] if prefix else [])])
    return made


def _joints(
    vocabulary: Mapping[str, int], kinds: list[int], scores: list[float]
) -> Iterator[tuple[tuple[float, int, int, int, int], tuple[str, str]]]:
    """Each way to join two tokens to a third, and what it is sorted by: best scores, longer parts first."""
    for token, number in vocabulary.items():
        if kinds[number] not in (NORMAL, USER) or len(token) > _MOST_LENGTH:
            continue
        for at in range(1, len(token)):
            first, second = token[:at], token[at:]
            if first in vocabulary and second in vocabulary:
                order = (-len(first), -len(second), vocabulary[first], vocabulary[second])
                yield (-scores[number], *order), (first, second)
