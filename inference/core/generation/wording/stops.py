"""Texts that end a generation: found wherever tokens cut them, and no part of one is told before."""

from __future__ import annotations

from collections.abc import Sequence


class StopTexts:
    """The text of one answer, told as far as no stop text can begin in it.

    What is told, and where it ends, does not depend on the pieces in which the text comes: the stop text
    that is complete first ends it, of those that are complete at once the longest.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        """Raises ValueError: one is empty."""
        if not all(stops):
            raise ValueError("expected stop texts of at least one character, got an empty one")
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None  # the one that ended it

    def add(self, text: str) -> str:
        """Take the next text; returns what may be told now. After `found` there is nothing more."""
        if self.found is not None:
            return ""
        text = self._held + text
        if (end := self._first(text)) is not None:
            self._held = ""
            return text[:end]
        begun = self._begun(text)
        self._held = text[len(text) - begun :]
        return text[: len(text) - begun]

    def end(self) -> str:
        """No more text comes: what was held back."""
        held, self._held = self._held, ""
        return held

    def _first(self, text: str) -> int | None:
        """Where the text before a stop text ends."""
        places = [
            (at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0
        ]
        if not places:
            return None
        _, at, self.found = min(places)
        return at

    def _begun(self, text: str) -> int:
        """How many characters at the end of the text may be the beginning of a stop text."""
        longest = min(len(text), max((len(stop) for stop in self._stops), default=1) - 1)
        return next(
            (n for n in range(longest, 0, -1) if any(s.startswith(text[-n:]) for s in self._stops)),
            0,
        )
