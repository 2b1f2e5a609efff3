"""Does a series drift? Theil–Sen's slope with its interval, Kendall's tau for significance.

Latencies are taken as logarithms, so that the slope is a relative change per day.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import scipy

from history.core.series import MIN_SAMPLES, Floats, check_positive

ALPHA = 0.05
LEAST_HOURS = 1.0
_AT_MOST = 600  # Theil–Sen looks at all pairs


@dataclasses.dataclass(frozen=True)
class Trend:
    """How a series moves.

    Attributes:
        direction: rising, falling, none (not significant), or unknown (too few samples, or within less than
            `LEAST_HOURS`: what happens within minutes says nothing of a day).
        per_day: relative change per day, 0.01 is one per cent; with its 95 % interval. None: unknown.
    """

    direction: str
    per_day: float | None
    low: float | None
    high: float | None
    p_value: float | None
    samples: int


def trend(days: Floats, values: Floats) -> Trend:
    """The trend of `values` (above zero) over `days`; of a long series, evenly thinned."""
    check_positive("values", values)
    if days.shape != values.shape or not np.all(np.isfinite(days)):
        raise ValueError(f"days: expected {values.size} finite numbers, got shape {days.shape}")
    if values.size < MIN_SAMPLES or np.ptp(days) * 24 < LEAST_HOURS:
        return Trend("unknown", None, None, None, None, values.size)
    picks = np.unique(np.linspace(0, values.size - 1, min(values.size, _AT_MOST)).astype(int))
    x, y = days[picks], np.log(values[picks])
    slope, _, low, high = scipy.stats.theilslopes(y, x, alpha=1 - ALPHA)
    p_value = float(scipy.stats.kendalltau(x, y).pvalue)
    if math.isnan(p_value):  # a constant series
        p_value = 1.0
    significant = p_value < ALPHA and low * high > 0
    direction = "none" if not significant else "rising" if slope > 0 else "falling"
    per_day, least, most = (_relative(float(v)) for v in (slope, low, high))
    return Trend(direction, per_day, least, most, p_value, values.size)


def _relative(slope: float) -> float | None:
    """The change of a value whose logarithm changes by `slope`; None beyond what a number holds."""
    try:
        return math.expm1(slope)
    except OverflowError:
        return None
