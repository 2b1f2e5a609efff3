"""Stop texts and characters that tokens cut: what is told is right, at any time, in any pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.core.generation.wording.detokenize import Text
from inference.core.generation.wording.stops import StopTexts
from inference.core.generation.wording.vocabulary import (
    BYTE_LEVEL,
    Vocabulary,
    from_byte_level,
    from_pieces,
)

_WORDS = st.text("ab€", min_size=1, max_size=4)


def ended(text: str, stops: list[str]) -> tuple[str, bool]:
    """The definition: the shortest beginning that ends with a stop text, without the longest such."""
    for end in range(len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))], True
    return text, False


@given(st.lists(st.text("ab€", max_size=5)), st.lists(_WORDS, max_size=4))
def test_a_text_ends_before_its_first_stop_text_and_no_part_of_one_is_told(
    pieces: list[str], stops: list[str]
) -> None:
    right, stopped = ended("".join(pieces), stops)
    texts, told, came = StopTexts(stops), "", ""
    for piece in pieces:
        told, came = told + texts.add(piece), came + piece
        assert right.startswith(told)
        # Held back is only what a stop text may begin with.
        held = came.removeprefix(told)
        assert texts.found or not held or any(stop.startswith(held) for stop in stops)
    assert told + texts.end() == right
    assert (texts.found is not None) == stopped


def test_an_empty_stop_text_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one character"):
        StopTexts(["a", ""])


@given(st.lists(st.binary(max_size=4)))
def test_text_comes_by_whole_characters_and_is_all_told_in_the_end(tokens: list[bytes]) -> None:
    text, right = Text(Vocabulary.of(tokens, set())), b"".join(tokens).decode(errors="replace")
    told = ""
    for token in range(len(tokens)):
        told += text.add(token)
        assert right.startswith(told)
    assert told + text.end() == right


@given(st.text(max_size=8))
def test_valid_text_is_never_told_later_than_its_characters_are_whole(words: str) -> None:
    raw = [bytes([byte]) for byte in words.encode()]
    text, told = Text(Vocabulary.of(raw, set())), ""
    for count, token in enumerate(range(len(raw)), 1):
        told += text.add(token)
        assert told == b"".join(raw[:count]).decode(errors="ignore")


def test_special_tokens_and_those_beyond_the_tokenizer_are_no_text() -> None:
    vocabulary = Vocabulary.of([b"a", b"<end>", b"b"], {1})
    text = Text(vocabulary)
    assert [text.add(token) for token in (0, 1, 2, 3, -1)] == ["a", "", "b", "", ""]
    assert vocabulary.bytes_of(1) == b"<end>"


def test_tokens_are_bytes() -> None:
    assert len(BYTE_LEVEL) == 256
    assert from_byte_level("Ġhello") == b" hello"
    assert from_byte_level("âĤ¬") == "€".encode()
    assert from_byte_level("<|end of text|>") == b"<|end of text|>"  # has a space: added as it is
    assert from_pieces("▁a▁b", ("▁",), byte_fallback=True) == b" a b"
    assert from_pieces("<0xE2>", ("▁",), byte_fallback=True) == b"\xe2"
    assert from_pieces("<0xE2>", ("▁",), byte_fallback=False) == b"<0xE2>"
    assert from_pieces("<0xG1>", ("▁",), byte_fallback=True) == b"<0xG1>"
