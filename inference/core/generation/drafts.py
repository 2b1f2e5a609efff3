"""What a text may go on with, by what it and its prompt said before: drafts, for the model to check.

The last few tokens are looked up among those before; what followed them there is drafted. A step then
computes the drafted positions beside its own, and gives a token for each that was right.

A position costs a share of a step, at most about half of one (weights in few bits: far less). What drafts may
have cost in vain is bounded: so much at the beginning, a little for each token, and some of what they saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MOST: Final = 8
"""Positions beside its own that a step may have."""
_LOOKED_UP: Final = (4, 2)  # tokens; what more of them say is believed before what fewer do
# In steps of one token; the first was measured with float weights on wasm, with 4 bits it is 0.03.
_COST, _AT_FIRST, _PER_TOKEN, _AT_MOST = 0.55, 1.1, 0.02, 6.0


class Drafts:
    """Of one text; the same tokens, told in the same pieces, make the same drafts.

    Who catches up tells them in other pieces, and may draft otherwise after it: the text is the same.
    """

    def __init__(self, prompt: Sequence[int]) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}  # some tokens → where what followed them is
        self._credit = _AT_FIRST
        for token in prompt:
            self._add(token)

    def told(self, tokens: Sequence[int], drafted: int) -> None:
        """The next tokens of the text: those of `drafted` that were right, and one more."""
        for token in tokens:
            self._add(token)
        right = min(drafted, len(tokens) - 1)
        earned = _PER_TOKEN * len(tokens) + right - _COST * drafted
        self._credit = min(_AT_MOST, self._credit + earned)

    def next(self, most: int) -> list[int]:
        """Tokens that may come next, at most so many; none where nothing tells or too many were wrong."""
        most = min(most, MOST, int(self._credit / _COST))
        if most < 1:
            return []
        for size in _LOOKED_UP:
            at = self._after.get(tuple(self._tokens[-size:])) if len(self._tokens) > size else None
            if at is not None:
                return self._from(at, most)
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
