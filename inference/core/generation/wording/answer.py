"""The text of one answer as its tokens come: what may be told of it, and which tokens that tells."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from inference.core.generation.sampled import Pick
from inference.core.generation.wording.detokenize import Text
from inference.core.generation.wording.stops import StopTexts
from inference.core.generation.wording.tools import Call
from inference.core.generation.wording.vocabulary import Vocabulary


@dataclass(frozen=True)
class Told:
    """A token that is part of the answer; `offset`: how many characters the answer had before it."""

    pick: Pick
    offset: int


@dataclass(frozen=True)
class Piece:
    """What may be told now; each may be empty."""

    text: str = ""
    tokens: tuple[Told, ...] = ()
    calls: tuple[Call, ...] = ()


class Answer:
    """One answer. A token is told once all of its text is; those of a stop text never are."""

    def __init__(
        self, vocabulary: Vocabulary, stop: Sequence[str], stop_tokens: Collection[int]
    ) -> None:
        self._text, self._stops = Text(vocabulary), StopTexts(stop)
        self._stop_tokens = frozenset(stop_tokens)
        self._came = self._told = 0  # characters
        self._waiting: list[tuple[Told, int]] = []  # with where each token's text ends

    @property
    def stopped(self) -> bool:
        """Whether a stop text was found: nothing that comes after it is part of the answer."""
        return self._stops.found is not None

    def add(self, pick: Pick) -> Piece:
        """Take the next token; one that ends texts is no part of the answer."""
        if self.stopped or pick.token in self._stop_tokens:
            return Piece()
        text = self._text.add(pick.token)
        before, self._came = self._came, self._came + len(text)
        self._waiting.append((Told(pick, before), self._came))
        return self._piece(self._stops.add(text))

    def end(self) -> Piece:
        """No more tokens come."""
        if self.stopped:
            return Piece()
        text = self._stops.add(self._text.end())
        return self._piece(
            text if self.stopped else text + self._stops.end(), last=not self.stopped
        )

    def _piece(self, text: str, *, last: bool = False) -> Piece:
        self._told += len(text)
        count = sum(last or end <= self._told for _, end in self._waiting)
        tokens, self._waiting = self._waiting[:count], self._waiting[count:]
        return Piece(text, tuple(told for told, _ in tokens))
