"""How long a computation may take before its browser is taken to hang: pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

LEAST: Final = 5
"""So many computations of the same size there are history enough."""
_TIMES_SLOWEST: Final = 20.0
_AT_LEAST_S: Final = 10.0
"""What a starved machine may take for anything: as patient as the page's pulse."""
_LOAD_S_PER_MB: Final = 0.2


def by_history_s(recent_ms: Sequence[float]) -> float | None:
    """Twenty times the slowest of the recent warm computations of that size there; None: too few."""
    if len(recent_ms) < LEAST:
        return None
    return max(_AT_LEAST_S, _TIMES_SLOWEST * max(recent_ms) / 1000)


def by_size_s(weight_bytes: int, *, base_s: float) -> float:
    """Before there is any history, or when the file has yet to be loaded: by its size, beyond `base_s`."""
    return base_s + weight_bytes / 1e6 * _LOAD_S_PER_MB
