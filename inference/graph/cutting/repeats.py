"""How often a pattern repeats: the layers of a network, seen from its operators."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

_COVERED = 0.6  # of the sequence must be repetitions, so that two equal neighbours are no layers


def repetitions(items: Sequence[Hashable]) -> int:
    """How often the shortest pattern repeats that covers most of the sequence; 1 where none does."""
    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(item, len(numbers)) for item in items], dtype=np.int64)
    for period in range(1, len(codes) // 2 + 1):
        count = (_longest_run(codes[period:] == codes[:-period]) + period) // period
        if count > 1 and count * period >= _COVERED * len(codes):
            return count
    return 1


def _longest_run(same: np.ndarray) -> int:
    """The longest stretch of True."""
    breaks = np.flatnonzero(~same)
    return int(np.diff(breaks, prepend=-1, append=len(same)).max()) - 1
