"""How much time is left."""

from __future__ import annotations

import time


class Deadline:
    """A point in time on the steady clock."""

    def __init__(self, total_s: float) -> None:
        self.total_s = total_s
        self._until = time.monotonic() + total_s

    def half(self) -> Deadline:
        """Half of what is left."""
        return Deadline(self.left() / 2)

    def part(self, seconds: float) -> Deadline:
        """So many seconds, or what is left if that is less."""
        return Deadline(min(seconds, self.left()))

    def left(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def passed(self) -> bool:
        return self.left() <= 0
