"""What a text may go on with, by what it and its prompt said before: drafts, for the model to check.

The last few tokens are looked up among those before; what followed them there is drafted. A step then
computes the drafted positions beside its own, and gives a token for each that was right. How many are drafted
follows from how many were: where drafts are refused, fewer and fewer are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MOST: Final = 8
"""So many positions beside its own make a step longer, and are lost where the first one is refused."""
_FIRST: Final = 4
_LOOKED_UP: Final = (4, 2)  # tokens; what more of them say is believed before what fewer do
_LONGEST_REST: Final = 64  # tokens without a draft


class Drafts:
    """Of one text; the same tokens, told in the same pieces, make the same drafts."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}  # some tokens → where what followed them is
        self._size, self._rest, self._next_rest = _FIRST, 0, 1
        for token in prompt:
            self._add(token)

    def told(self, tokens: Sequence[int], drafted: int) -> None:
        """The next tokens of the text: those of `drafted` that were right, and one more."""
        for token in tokens:
            self._add(token)
        self._rest = max(0, self._rest - len(tokens))
        right = len(tokens) - 1
        if not drafted:
            return
        if right >= drafted:
            self._size, self._next_rest = min(MOST, 2 * self._size), 1
        elif right:
            self._size = right + 1
        else:
            self._size = max(1, self._size // 2)
            self._rest = self._next_rest
            self._next_rest = min(_LONGEST_REST, 2 * self._next_rest)

    def next(self, most: int) -> list[int]:
        """Tokens that may come next, at most so many; none where nothing tells or too many were refused."""
        if self._rest:
            return []
        for size in _LOOKED_UP:
            at = self._after.get(tuple(self._tokens[-size:])) if len(self._tokens) > size else None
            if at is not None:
                return self._from(at, min(most, self._size))
        return []

    def _from(self, at: int, count: int) -> list[int]:
        """What follows a place; where the text ends before, it is thought to go round."""
        period = len(self._tokens) - at
        return [self._tokens[at + step % period] for step in range(count)]

    def _add(self, token: int) -> None:
        for size in _LOOKED_UP:
            if len(self._tokens) >= size:
                self._after[tuple(self._tokens[-size:])] = len(self._tokens)
        self._tokens.append(token)
