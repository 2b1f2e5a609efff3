"""Tokens as text, one after another.

What is told is the text that the tokens add to that of the prompt: a space before the first word stays.
"""

from __future__ import annotations

import codecs

from inference.core.generation.wording.vocabulary import Vocabulary


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
