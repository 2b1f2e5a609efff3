"""Grammars that texts are held to: a caller's, over a stranger's tokenizer.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from llguidance import LLMatcher, LLTokenizer

from inference.sandbox.frames import Answer

_MOST_SAID: Final = 300  # characters
_PLAINLY: Final = {"NoExtensionBias": "no text can have it (NoExtensionBias)"}


class Grammars:
    """Says of grammars whether texts of a tokenizer can be held to them."""

    def __init__(self, path: str, vocabulary: int, stop_tokens: Sequence[int]) -> None:
        """Raises ValueError: the tokenizer is of another kind."""
        self._tokenizer, self._vocabulary = _tokenizer(path, vocabulary, stop_tokens), vocabulary

    def __call__(self, grammar: str) -> Answer:
        """`allowed` bool[vocabulary]: what a text may begin with.

        Raises:
            ValueError: why it cannot be followed.
        """
        matcher = _matcher(self._tokenizer, grammar)
        return Answer(None, {"allowed": _allowed(matcher)[: self._vocabulary]})


class Guide:
    """One text; asked with each token, answers whether it is complete, and what may come next."""

    def __init__(
        self, path: str, vocabulary: int, stop_tokens: Sequence[int], grammar: str
    ) -> None:
        """Raises ValueError: as `Grammars`."""
        self._vocabulary = vocabulary
        self._matcher = _matcher(_tokenizer(path, vocabulary, stop_tokens), grammar)

    def __call__(self, token: int | None = None) -> Answer:
        """`allowed` bool[vocabulary], none where the text is complete; None: before the first token.

        Raises:
            ValueError: it may not come, or following the grammar takes too much.
        """
        if token is not None and not self._matcher.consume_token(token):
            raise ValueError(_said(self._matcher) or f"token {token} may not come")
        if self._matcher.is_stopped() and not self._matcher.is_error():
            return Answer(True)
        return Answer(False, {"allowed": _allowed(self._matcher)[: self._vocabulary]})


def _tokenizer(path: str, vocabulary: int, stop_tokens: Sequence[int]) -> LLTokenizer:
    text = Path(path).read_text(encoding="utf-8")
    return LLTokenizer(text, n_vocab=vocabulary, eos_token=list(stop_tokens) or None)


def _matcher(tokenizer: LLTokenizer, grammar: str) -> LLMatcher:
    matcher = LLMatcher(tokenizer, grammar, log_level=0)
    if matcher.is_error():
        raise ValueError(_said(matcher))
    return matcher


def _allowed(matcher: LLMatcher) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    mask = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    if matcher.is_error():
        raise ValueError(_said(matcher))
    allowed = np.unpackbits(mask, bitorder="little").astype(bool)
    if not allowed.any():
        raise ValueError("no token of the model can follow")
    return allowed


def _said(matcher: LLMatcher) -> str:
    """Its error in one line: what comes below is llguidance's own state."""
    line = str(matcher.get_error() or "").partition("\n")[0][:_MOST_SAID].strip()
    return _PLAINLY.get(line, line)
