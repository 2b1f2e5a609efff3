"""The text of one session, token by token: drawn from logits, and ended where it must end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.core.generation.asked import Asked, Ending
from inference.core.generation.drafts import Drafts
from inference.core.generation.sampled import Pick, TopLogits
from inference.core.generation.sampling import draw
from inference.core.generation.wording.grammar import Guide, Unfollowable, any_left
from inference.core.generation.wording.stops import StopTexts


@dataclass(frozen=True)
class Run:
    """Tokens that one step gave, from `index` on; and why the text ends with the last, None: it goes on."""

    index: int
    picks: tuple[Pick, ...]
    ending: Ending | None


class Writer:
    """`stop_tokens` are the model's own. Of `suppress_tokens` none is written, and of
    `begin_suppress_tokens` none as the first. `text_of` gives the text that each token, one after another,
    adds; it is needed where a stop text was asked for. `guide` where a form was. `drafts`: several tokens may
    come of a step.
    """

    def __init__(
        self,
        asked: Asked,
        *,
        context: int,
        vocabulary: int,
        stop_tokens: Sequence[int],
        suppress_tokens: Sequence[int] = (),
        begin_suppress_tokens: Sequence[int] = (),
        text_of: Callable[[int], str] | None = None,
        guide: Guide | None = None,
        drafts: Drafts | None = None,
    ) -> None:
        """Raises ValueError: there are stop texts or a form, and nothing to find or to follow them with."""
        self.asked, self._context, self._vocabulary = asked, context, vocabulary
        self._suppressed = _ids(suppress_tokens)
        self._suppressed_first = _ids([*suppress_tokens, *begin_suppress_tokens])
        own = () if asked.ignore_end else tuple(stop_tokens)
        self._stop_tokens = frozenset((*asked.stop_tokens, *own))
        self.written: list[int] = []
        self._last: Run | None = None
        self._drafts = drafts
        if asked.stop and text_of is None:
            raise ValueError("stop texts need a model with a tokenizer")
        if asked.grammar and guide is None:
            raise ValueError("a form of the text needs what follows it")
        self._guide = guide if asked.grammar else None
        self._text_of = text_of if asked.stop else None
        self._stops = StopTexts(asked.stop)

    def needs(self, index: int) -> int:
        """How many of the largest logits a step's page gives for the tokens from `index` on; 0: all."""
        if self._guide:
            return 0
        most = self.asked.sampling.needs(len(self._suppressed_at(index)))
        return most if most < self._vocabulary else 0

    def index_after(self, position: int) -> int:
        """Which token of the answer follows `position` positions; below 0: the prompt goes on."""
        return position - len(self.asked.prompt)

    def write(self, index: int, tops: Sequence[TopLogits], drafted: Sequence[int] = ()) -> Run:
        """Draw the tokens from `index` on, the next one: of each row of logits, as long as they hold.

        The row after a drafted token holds where that is the one that was drawn; there may be none. What was
        asked for last may be asked for again, and is the same.

        Raises:
            Unfollowable: the text's form allows only what is suppressed, or as `Guide.take`.
            Undrawable: as `sampling.draw`.
            ValueError: as `sampling.draw` and `Guide.take`, or it is another token's turn.
        """
        if self._last is not None and index == self._last.index:
            return self._last
        if index != len(self.written):
            raise ValueError(f"expected token {len(self.written)}, got {index}")
        picks: list[Pick] = []
        ending = None
        for top, expected in zip(tops, [*drafted, None], strict=False):
            pick, ending = self._draw(top)
            picks.append(pick)
            if ending is not None or pick.token != expected:
                break
        if self._drafts is not None:
            self._drafts.told([pick.token for pick in picks], len(drafted))
        self._last = Run(index, tuple(picks), ending)
        return self._last

    def drafts(self) -> list[int]:
        """What may come after the next token that a step is fed: as much of it as there is room for."""
        if self._drafts is None:
            return []
        length = len(self.asked.prompt) + len(self.written)
        room = min(self.asked.max_tokens - len(self.written), self._context - length) - 1
        return self._drafts.next(room) if room > 0 else []

    def _draw(self, top: TopLogits) -> tuple[Pick, Ending | None]:
        position = len(self.asked.prompt) + len(self.written)
        suppressed = self._suppressed_at(len(self.written))
        allowed = self._guide.allowed if self._guide else None
        if allowed is not None and not any_left(allowed, suppressed):
            raise Unfollowable(
                f"token {len(self.written)} of the text: the form that was asked for allows only tokens that "
                "the model never writes (its suppress_tokens); ask for another form"
            )
        pick = draw(
            top, self.asked.sampling, position, self.written, self.asked.prompt, allowed, suppressed
        )
        self.written.append(pick.token)
        return pick, self._ending(pick.token, position + 1)

    def _suppressed_at(self, index: int) -> NDArray[np.int64]:
        """The tokens that may not be token `index`; later ones are among those of the first."""
        return self._suppressed if index else self._suppressed_first

    def _ending(self, token: int, length: int) -> Ending | None:
        complete = self._guide is not None and self._guide.take(token)
        if complete or token in self._stop_tokens:
            return Ending.STOP
        if self._text_of is not None:
            self._stops.add(self._text_of(token))
            if self._stops.found is not None:
                return Ending.STOP
        if len(self.written) >= self.asked.max_tokens or length >= self._context:
            return Ending.LENGTH
        return None


def _ids(tokens: Iterable[int]) -> NDArray[np.int64]:
    """Each of them once."""
    return np.array(sorted(set(tokens)), np.int64)
