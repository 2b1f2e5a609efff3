"""How long a stage's next step may take: by those that its browser took for it before."""

from __future__ import annotations

import bisect
import math
from collections import deque
from typing import Final

LEAST: Final = 16
"""So many steps are history enough."""
_RECENT: Final = 128
_TIMES_SLOW: Final = 20.0
_SLOW: Final = 0.95  # one of twenty steps takes longer


class StepTimes:
    """Steps of one token of one stage in one browser, which did nothing else meanwhile.

    Twenty times the 95th percentile of the recent ones, at least `at_least_s`: longer than any pause of a
    browser that lives, far shorter than what must do before anything was measured.
    """

    def __init__(self, at_least_s: float) -> None:
        self.at_least_s = at_least_s
        self._recent: deque[float] = deque()
        self._ordered: list[float] = []  # the same: each step asks

    def note(self, seconds: float) -> None:
        """A step took so long, from the question to its answer."""
        if len(self._recent) == _RECENT:
            del self._ordered[bisect.bisect_left(self._ordered, self._recent.popleft())]
        self._recent.append(seconds)
        bisect.insort(self._ordered, seconds)

    def usual_s(self) -> float:
        """How long most take; 0 before one was measured."""
        return self._ordered[len(self._ordered) // 2] if self._ordered else 0.0

    def within_s(self, beside_s: float = 0.0) -> float | None:
        """How long the next one may take, behind others that take so long; None: too few were measured."""
        slow_s = self.slow_s()
        return None if slow_s is None else max(self.at_least_s, slow_s + beside_s)

    def slow_s(self) -> float | None:
        """The same without the least, for several steps one after another; None: too few were measured."""
        count = len(self._ordered)
        if count < LEAST:
            return None
        return _TIMES_SLOW * self._ordered[math.ceil(_SLOW * count) - 1]
