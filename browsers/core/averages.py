"""Moving averages of what was measured, by key."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
_NEWEST = 0.2  # weight of the newest sample


class MovingAverages(Generic[K]):
    """An exponential moving average for each key; None until something was noted."""

    def __init__(self) -> None:
        self._values: dict[K, float] = {}

    def note(self, key: K, value: float) -> None:
        before = self._values.get(key, value)
        self._values[key] = before + _NEWEST * (value - before)

    def get(self, key: K) -> float | None:
        return self._values.get(key)

    def clear(self) -> None:
        self._values.clear()
