"""What is asked of samples thousands of times: median, quantiles, Mann–Whitney's U.

numpy and scipy check and convert so much that they take a hundred times longer than the arithmetic of a
few values. The results are theirs.
"""

from __future__ import annotations

import functools
import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

import numpy as np

from history.core.series import Floats

_FEW: Final = 8
"""Up to so many samples on one side, and without ties, p-values are exact, as scipy's are."""


def in_order(values: Floats) -> Floats:
    """A copy, ascending."""
    ascending = values.copy()
    ascending.sort()
    return ascending


def median(values: Floats | list[float]) -> float:
    """Of at least one value."""
    listed = values if isinstance(values, list) else values.tolist()
    ascending = sorted(listed)
    at, odd = divmod(len(ascending) - 1, 2)
    low: float = ascending[at]
    return low + 0.5 * (ascending[at + 1] - low) if odd else low


def quantile(ascending: Floats, share: float) -> float:
    """Linear between neighbours."""
    at = share * (len(ascending) - 1)
    below = int(at)
    low = ascending.item(below)
    if below == at:
        return low
    return low + (at - below) * (ascending.item(below + 1) - low)


def slower(own: Floats, best: Floats) -> float:
    """The p-value of Mann–Whitney's U that `own` tends to be greater than `best`, one-sided."""
    m, n = own.size, best.size
    if min(m, n) <= _FEW:
        mine, others = own.tolist(), sorted(best.tolist())
        if len({*mine, *others}) == m + n:
            return _exact(m, n)[sum(bisect_left(others, value) for value in mine)]
    ascending = np.sort(best)
    below = int(np.searchsorted(ascending, own, "left").sum())
    ties = int(np.searchsorted(ascending, own, "right").sum()) - below
    u = below + ties / 2
    together = np.sort(np.concatenate([own, best]))
    total = m + n
    _, groups = np.unique(together, return_counts=True)
    tied = float((groups.astype(np.float64) ** 3 - groups).sum()) / (total * (total - 1))
    spread = math.sqrt(m * n / 12 * (total + 1 - tied))
    if spread == 0:
        return 1.0
    return 0.5 * math.erfc((u - m * n / 2 - 0.5) / spread / math.sqrt(2))


@functools.lru_cache(maxsize=1000)
def _exact(m: int, n: int) -> Sequence[float]:
    """P(U ≥ u) of samples without ties, for every u from 0 to m · n.

    The numbers of arrangements are the coefficients of Gauss' binomial (m + n over m).
    """
    few, many = min(m, n), max(m, n)
    counts = np.zeros(m * n + 1)
    counts[0] = 1.0
    for k in range(1, few + 1):
        # times (1 - x^(many + k)) / (1 - x^k)
        times = counts.copy()
        times[many + k :] -= counts[: counts.size - many - k]
        for first in range(k):
            times[first::k] = np.cumsum(times[first::k])
        counts = times
    upwards = np.cumsum(counts[::-1])[::-1]
    return [float(p) for p in upwards / upwards[0]]


def false_discoveries(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's corrected p-values, in the given order."""
    found = [0.0] * len(p_values)
    least = 1.0
    ordered = sorted(range(len(p_values)), key=p_values.__getitem__, reverse=True)
    for rank, at in zip(range(len(p_values), 0, -1), ordered, strict=True):
        least = min(least, p_values[at] * len(p_values) / rank)
        found[at] = least
    return found
