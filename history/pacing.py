"""How much of the machine history takes: who has worked rests many times as long as that took.

Two kinds of work keep to it, taking over and recomputing. Together they take less than a twentieth of one
core, whatever comes in: what is late is taken over and decided together.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Final

REST: Final = 40.0
"""Twice twenty, because there are two."""


class Stopwatch:
    """How long something took, in seconds on the clock or of processors, whichever is more."""

    def __init__(self) -> None:
        self._began = time.monotonic(), time.process_time()

    def seconds(self) -> float:
        clock, processors = self._began
        return max(time.monotonic() - clock, time.process_time() - processors)


class Pace:
    """Of one kind of work in one process, which may wait for others: only what processors did counts."""

    def __init__(self) -> None:
        self._rests_until = 0.0

    def rests(self) -> bool:
        return time.monotonic() < self._rests_until

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Around the work; afterwards it rests."""
        began = time.process_time()
        try:
            yield
        finally:
            self._rests_until = time.monotonic() + REST * (time.process_time() - began)
