"""When a backend that was late with the known answer is asked again: a late answer is no wrong one."""

from __future__ import annotations

from typing import Final

_WAITS_S: Final = (30.0, 120.0, 480.0)
"""How long it rests after each late answer; after the last one it is not asked again."""


class LateAnswers:
    """How often each backend of a started browser was late in a row. Moments: steady clock, in s."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._due: dict[str, float] = {}

    def note(self, backend: str, now: float) -> float | None:
        """It was late; returns after how many seconds it is asked again, None: no more."""
        times = self._times[backend] = self._times.get(backend, 0) + 1
        self._due.pop(backend, None)
        if times > len(_WAITS_S):
            return None
        wait_s = _WAITS_S[times - 1]
        self._due[backend] = now + wait_s
        return wait_s

    def answered(self, backend: str) -> None:
        """It answered, right or wrong."""
        self._times.pop(backend, None)
        self._due.pop(backend, None)

    def due(self, now: float) -> str | None:
        """The one whose turn it is; None: nobody's. From any thread."""
        waiting = sorted((at, backend) for backend, at in list(self._due.items()) if at <= now)
        return waiting[0][1] if waiting else None
