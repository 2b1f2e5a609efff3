"""For how long a standby waits for the stage that it follows, and when that is too long.

What a browser that stands still gives is missed by its standbys long before a deadline that must also suit a
browser which is only slow: they have computed it, and know for how long they usually wait.
"""

from __future__ import annotations

from collections import deque
from typing import Final

LEAST: Final = 16
"""So many steps are history enough."""
_RECENT: Final = 128
_AT_LEAST_S: Final = 0.2
_TIMES: Final = 1.5
_MOST_APART_S: Final = 0.1


class Lead:
    """A standby's waits, one per step that it has computed; times are monotonic, in s.

    Too long is half as long again as the longest of the recent ones, and never below `_AT_LEAST_S`: a pause
    after which the stage went on makes it more patient. Whoever stood still himself between two looks has
    waited for `_MOST_APART_S` at most.
    """

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._looked: float | None = None
        self._waited = 0.0

    def look(self, now: float) -> None:
        """It has what the stage does not yet."""
        if self._looked is None:
            self._waited = 0.0
        else:
            self._waited += min(now - self._looked, _MOST_APART_S)
        self._looked = now

    def end(self, now: float) -> None:
        """The stage has it, too, or had it before."""
        if self._looked is not None:
            self.look(now)
        self._recent.append(self._waited)
        self._looked, self._waited = None, 0.0

    @property
    def waits_s(self) -> float:
        """For how long it waits now, up to its last look."""
        return self._waited

    @property
    def is_too_long(self) -> bool:
        """Whether it waits longer than it ever had to; False while too few waits are known."""
        if len(self._recent) < LEAST:
            return False
        return self._waited > max(_AT_LEAST_S, _TIMES * max(self._recent))
