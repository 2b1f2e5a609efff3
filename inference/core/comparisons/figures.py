"""Median and 95th percentile of a cell's runs with intervals by order statistics.

The interval between two of the sorted values holds the quantile with a probability that follows from the
binomial distribution alone, whatever the times are distributed like. Few values bound a quantile on one side
only, or on none: that end is None. Seventy-two values are needed before the 95th percentile has an upper end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
import scipy

COVERAGE: Final = 0.95


@dataclasses.dataclass(frozen=True)
class Quantile:
    """A quantile and the interval that holds it with a probability of 95 % at least; None: not bounded."""

    value: float
    low: float | None
    high: float | None


@dataclasses.dataclass(frozen=True)
class Figures:
    """Of one cell, in the unit of its samples."""

    samples: int
    median: Quantile
    p95: Quantile


def figures(samples: Sequence[float]) -> Figures | None:
    """None without a sample."""
    if not samples:
        return None
    return Figures(len(samples), quantile(samples, 0.5), quantile(samples, 0.95))


def quantile(samples: Sequence[float], share: float) -> Quantile:
    """Linear between neighbours; of at least one sample."""
    ascending = sorted(samples)
    count = len(ascending)
    tail = (1 - COVERAGE) / 2
    # So many of the values lie below the quantile: Binomial(count, share).
    below = int(scipy.stats.binom.ppf(tail, count, share))
    lowest = below - 1
    highest = int(scipy.stats.binom.ppf(1 - tail, count, share))
    return Quantile(
        float(np.quantile(ascending, share)),
        ascending[lowest] if lowest >= 0 else None,
        ascending[highest] if highest < count else None,
    )
