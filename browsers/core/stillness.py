"""Somebody who looks regularly notices that he, or what he looks at, stood still for a while.

A server that was stopped, or a machine that was suspended, comes back with every lease expired, although
nobody has died: nobody could renew them. What is seen just after such a pause says nothing.
"""

from __future__ import annotations


class Stillness:
    """Keeps the time of the last look.

    Attributes:
        allowed_s: looks further apart than this mean that something stood still.
        distrust_s: for so long afterwards nothing that is missing counts as dead.
    """

    def __init__(self, *, allowed_s: float, distrust_s: float) -> None:
        self.allowed_s, self.distrust_s = allowed_s, distrust_s
        self._last = float("-inf")
        self._trusted_from = float("-inf")

    def observe(self, now_s: float) -> bool:
        """Note a look that was answered at `now_s` (monotonic); whether what it shows can be trusted.

        The first look cannot: nobody knows what was before.
        """
        if now_s - self._last > self.allowed_s:
            self._trusted_from = now_s + self.distrust_s
        self._last = now_s
        return now_s >= self._trusted_from
