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


class Lead:
    """A standby's waits, one per step that it has computed; times are monotonic, in s.

    Too long is half as long again as the longest of the recent ones, and never below `_AT_LEAST_S`: a pause
    after which the stage went on makes it more patient.
    """

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._since: float | None = None

    def begin(self, now: float) -> None:
        """It has what the stage does not yet; may be said again of the same step."""
        if self._since is None:
            self._since = now

    def end(self, now: float) -> None:
        """The stage has it, too, or had it before."""
        self._recent.append(now - self._since if self._since is not None else 0.0)
        self._since = None

    def waits_s(self, now: float) -> float:
        """For how long it waits now."""
        return now - self._since if self._since is not None else 0.0

    def is_too_long(self, now: float) -> bool:
        """Whether it waits longer than it ever had to; False while too few waits are known."""
        if len(self._recent) < LEAST:
            return False
        return self.waits_s(now) > max(_AT_LEAST_S, _TIMES * max(self._recent))
