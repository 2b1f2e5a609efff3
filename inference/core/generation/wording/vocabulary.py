"""What each token of a tokenizer is in bytes; a character may need several tokens.

Read from a tokenizer.json as its decoder says: byte-level (GPT-2, Llama 3, Qwen) or SentencePiece's pieces
(Llama 2, Gemma, T5). Other decoders put words together by rules of their own and are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.documents import JsonView


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


def _byte_level() -> dict[str, int]:
    """The printable character that byte-level tokenizers write for each byte, as GPT-2 chose them."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    shown = {chr(byte): byte for byte in printable}
    return shown | {chr(0x100 + index): byte for index, byte in enumerate(others)}


BYTE_LEVEL: Final = _byte_level()
MOST: Final = 2**24  # tokens of a vocabulary


def from_byte_level(token: str) -> bytes:
    """The bytes of a byte-level token; one with other characters was added as it is."""
    if all(character in BYTE_LEVEL for character in token):
        return bytes(BYTE_LEVEL[character] for character in token)
    return token.encode()


def from_pieces(token: str, spaces: tuple[str, ...], *, byte_fallback: bool) -> bytes:
    """The bytes of a SentencePiece token, in which `spaces` stand for one each; `<0x0A>` may be a byte."""
    if byte_fallback and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        try:
            return bytes([int(token[3:5], 16)])
        except ValueError:
            pass  # a text that only looks like one
    for space in spaces:
        token = token.replace(space, " ")
    return token.encode()


def read_vocabulary(document: JsonView) -> Vocabulary:
    """The vocabulary of a tokenizer.json.

    Raises:
        ValueError: its decoder gives text that is not its tokens' bytes one after another.
        KeyError, TypeError, AttributeError: it is no tokenizer.json.
    """
    vocabulary = document["model"]["vocab"]
    if isinstance(vocabulary, list):  # of Unigram: pairs of a piece and its score
        vocabulary = {piece: number for number, (piece, _) in enumerate(vocabulary)}
    added = document.get("added_tokens") or []
    names = {number: piece for piece, number in vocabulary.items()}
    names |= {item["id"]: item["content"] for item in added}
    if not names or not all(type(number) is int and 0 <= number < MOST for number in names):
        raise ValueError(f"expected token numbers from 0 to {MOST - 1}")
    known = Pieces.of(document.get("decoder"))
    tokens = [known.bytes_of(names.get(number, "")) for number in range(max(names) + 1)]
    return Vocabulary.of(tokens, {item["id"] for item in added if item.get("special")})


@dataclass(frozen=True)
class Pieces:
    """What a tokenizer's decoder makes of a piece. `spaces`: what stands for a space, beside itself."""

    byte_level: bool = False
    spaces: tuple[str, ...] = ()
    byte_fallback: bool = False

    @classmethod
    def of(cls, decoder: JsonView | None) -> Pieces:
        """As the tokenizer.json's `decoder` says.

        Raises:
            ValueError: it is of another kind.
        """
        byte_level, spaces, byte_fallback = False, [], False
        for step in _steps(decoder):
            match step:
                case {"type": "ByteLevel"}:
                    byte_level = True
                case {"type": "Metaspace", "replacement": str(space)}:
                    spaces.append(space)
                case {"type": "Replace", "pattern": {"String": str(space)}, "content": " "}:
                    spaces.append(space)
                case {"type": "ByteFallback"}:
                    byte_fallback = True
                case {"type": "Fuse"} | {"type": "Strip", "content": " ", "stop": 0}:
                    pass  # puts pieces together; takes a space off the beginning, which the prompt has
                case _:
                    raise ValueError(
                        f"its decoder has the step {step!r:.80}; expected ByteLevel, or Metaspace, "
                        "Replace (by a space), ByteFallback, Fuse and Strip (at the start)"
                    )
        if byte_level == bool(spaces or byte_fallback):
            raise ValueError("expected a decoder of byte-level tokens or of SentencePiece's pieces")
        return cls(byte_level, tuple(spaces), byte_fallback)

    def bytes_of(self, piece: str) -> bytes:
        if self.byte_level:
            return from_byte_level(piece)
        return from_pieces(piece, self.spaces, byte_fallback=self.byte_fallback)


def _steps(decoder: JsonView | None) -> Iterator[JsonView]:
    if decoder is None:
        return
    if decoder["type"] == "Sequence":
        for step in decoder["decoders"]:
            yield from _steps(step)
    else:
        yield decoder
