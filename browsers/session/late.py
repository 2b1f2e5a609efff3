"""When a backend that was late with the known answer is asked again: a late answer is no wrong one."""

from __future__ import annotations

from typing import Final

_WAITS_S: Final = (30.0, 120.0, 480.0)
"""How long it rests before it is asked again, each time; after the last one it is asked no more."""


class LateAnswers:
    """How often each backend of a started browser was late when it was asked again, in a row.

    Only that counts: repairs ask all backends, twice a rung, and use up nothing. Moments: steady clock, in s.
    """

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._due: dict[str, float] = {}

    def note(self, backend: str, now: float) -> float | None:
        """It was late; returns after how many seconds it is asked again, None: no more."""
        if backend not in self._due:
            return self._wait(backend, now)
        return max(0.0, self._due[backend] - now)

    def note_again(self, backend: str, now: float) -> float | None:
        """It was late although it was asked again in its turn; returns the same."""
        self._times[backend] = self._times.get(backend, 0) + 1
        return self._wait(backend, now)

    def _wait(self, backend: str, now: float) -> float | None:
        times = self._times.get(backend, 0)
        self._due.pop(backend, None)
        if times >= len(_WAITS_S):
            return None
        self._due[backend] = now + _WAITS_S[times]
        return _WAITS_S[times]

    def answered(self, backend: str) -> None:
        """It answered, right or wrong."""
        self._times.pop(backend, None)
        self._due.pop(backend, None)

    def due(self, now: float) -> str | None:
        """The one whose turn it is; None: nobody's. From any thread."""
        waiting = sorted((at, backend) for backend, at in list(self._due.items()) if at <= now)
        return waiting[0][1] if waiting else None
