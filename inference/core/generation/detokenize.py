"""Tokens as text, one after another.

A token is some bytes; a character may need several tokens. What is told is the text that the tokens add to
that of the prompt: a space that stands before the first word stays.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Vocabulary:
    """The bytes of every token: those of `id` are `data[ends[id - 1]:ends[id]]`.

    `data` uint8[…], `ends` int64[vocabulary], `special` bool[vocabulary]: tokens that are no text, such as
    those that begin a turn.
    """

    data: bytes
    ends: NDArray[np.int64]
    special: NDArray[np.bool_]

    @classmethod
    def of(cls, tokens: list[bytes], special: set[int]) -> Vocabulary:
        ends = np.cumsum([len(token) for token in tokens], dtype=np.int64)
        return cls(b"".join(tokens), ends, np.isin(np.arange(len(tokens)), list(special)))

    def __len__(self) -> int:
        return len(self.ends)

    def bytes_of(self, token: int) -> bytes:
        """Empty where a model has more tokens than its tokenizer."""
        if not 0 <= token < len(self.ends):
            return b""
        return self.data[int(self.ends[token - 1]) if token else 0 : int(self.ends[token])]

    def text_bytes(self, token: int) -> bytes:
        """As `bytes_of`, none of a special token."""
        known = 0 <= token < len(self.ends)
        return b"" if known and self.special[token] else self.bytes_of(token)


class Text:
    """The text of one answer; bytes that are no character yet are held back.

    Bytes that never become one are told as U+FFFD, as Unicode recommends.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int) -> str:
        """Take the next token; returns the text that is sure now."""
        return self._decoder.decode(self._vocabulary.text_bytes(token))

    def end(self) -> str:
        """No more tokens come: what was held back."""
        return self._decoder.decode(b"", final=True)


def _byte_level() -> dict[str, int]:
    """The printable character that byte-level tokenizers write for each byte, as GPT-2 chose them."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    shown = {chr(byte): byte for byte in printable}
    return shown | {chr(0x100 + index): byte for index, byte in enumerate(others)}


BYTE_LEVEL: Final = _byte_level()


def from_byte_level(token: str) -> bytes:
    """The bytes of a byte-level token; one with other characters was added as it is."""
    if all(character in BYTE_LEVEL for character in token):
        return bytes(BYTE_LEVEL[character] for character in token)
    return token.encode()


def from_pieces(token: str, space: str, *, byte_fallback: bool) -> bytes:
    """The bytes of a SentencePiece token, in which `space` stands for one; `<0x0A>` may be a byte."""
    if byte_fallback and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        try:
            return bytes([int(token[3:5], 16)])
        except ValueError:
            pass  # a text that only looks like one
    return token.replace(space, " ").encode() if space else token.encode()
