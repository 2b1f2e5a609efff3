"""How long each model takes in this browser: moving averages, until the browser is another one."""

from __future__ import annotations

from browsers.core.averages import MovingAverages
from browsers.session import RunReport


class Pace:
    """By file and backend. Written by the main thread, read by any."""

    def __init__(self) -> None:
        self._compute_ms: MovingAverages[tuple[str, str]] = MovingAverages()
        self._row_ms: MovingAverages[tuple[str, str]] = MovingAverages()

    def note(self, sha256: str, report: RunReport, rows: int | None) -> None:
        """Only warm runs count; `rows` is the batch, if any."""
        if not report.warm:
            return
        key = (sha256, report.backend)
        self._compute_ms.note(key, report.compute_ms)
        if rows:
            self._row_ms.note(key, report.compute_ms / rows)

    def compute_ms(self, sha256: str, backend: str) -> float | None:
        return self._compute_ms.get((sha256, backend))

    def row_ms(self, sha256: str, backend: str) -> float | None:
        return self._row_ms.get((sha256, backend))

    def forget(self) -> None:
        """Another page or browser: what was measured of the old one says little of it."""
        self._compute_ms.clear()
        self._row_ms.clear()
