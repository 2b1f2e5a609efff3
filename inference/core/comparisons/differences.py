"""Which cells of a comparison differ in speed, by how much, and that in words.

Every pair is tested with Mann–Whitney's U (two-sided), and all p-values are corrected together by Holm. The
ratio is Hodges and Lehmann's: the median of the ratios of each run of one to each run of the other, with the
interval (95 %) that the same test gives.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import scipy

SIGNIFICANT: Final = 0.05
LEAST_SAMPLES: Final = 5
Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclasses.dataclass(frozen=True)
class Difference:
    """Two cells, the slower one by its median first.

    Attributes:
        ratio, low, high: how many times as long the slower one takes, with its interval; None where a time
            is zero.
        p_value: corrected by Holm for all pairs of the comparison.
    """

    slower: str
    faster: str
    runs: int
    ratio: float | None
    low: float | None
    high: float | None
    p_value: float

    @property
    def shown(self) -> bool:
        return self.p_value < SIGNIFICANT


def differences(samples: Mapping[str, Sequence[float]]) -> list[Difference]:
    """Of all pairs of cells with at least five runs, by the median: those beside the fastest first."""
    arms = {
        name: np.asarray(values, np.float64)
        for name, values in samples.items()
        if len(values) >= LEAST_SAMPLES
    }
    ordered = sorted(arms, key=lambda name: (float(np.median(arms[name])), name))
    pairs = list(itertools.combinations(ordered, 2))
    corrected = holm([_p_value(arms[slow], arms[fast]) for fast, slow in pairs])
    return [
        _difference(slow, fast, arms[slow], arms[fast], p_value)
        for (fast, slow), p_value in zip(pairs, corrected, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's corrected p-values, in the given order."""
    found = [0.0] * len(p_values)
    largest = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[at] * (len(p_values) - rank)))
        found[at] = largest
    return found


def too_few(samples: Mapping[str, Sequence[float]]) -> str:
    """Why so many runs show no difference, however large, and how many could; empty: these could."""
    sizes = [len(values) for values in samples.values() if values]
    pairs = math.comb(len(sizes), 2)
    if not pairs or _may_show(max(sizes), pairs):
        return ""
    runs = max(sizes)
    enough = next(more for more in itertools.count(runs + 1) if _may_show(more, pairs))
    return (
        f"{runs} run{'s' if runs > 1 else ''} of each of {len(sizes)} cells cannot show which is faster, "
        f"however large the difference; {enough} runs can"
    )


def _may_show(runs: int, pairs: int) -> bool:
    """Whether two cells would be told apart of which the one was slower in every run."""
    faster = np.arange(runs, dtype=np.float64)
    return runs >= LEAST_SAMPLES and _p_value(faster, faster + runs) * pairs < SIGNIFICANT


def said(one: Difference) -> str:
    """The difference as a sentence without a full stop."""
    if not one.shown:
        return (
            f"no difference shown between {one.slower} and {one.faster} with {one.runs} runs "
            f"(p = {_rounded(one.p_value)})"
        )
    if one.ratio is None or one.low is None or one.high is None:
        return f"{one.slower} is slower than {one.faster}; its times are too short for a ratio"
    return f"{one.slower} is {times_as_long(one.low, one.high)} times as slow as {one.faster}"


def times_as_long(low: float, high: float) -> str:
    """The interval of a ratio, for people: `1.2 to 1.4`, `about 1.3`."""
    ends = _ratio(low), _ratio(high)
    return f"about {ends[0]}" if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _ratio(value: float) -> str:
    return f"{value:.3g}" if value >= 10 else f"{value:.2f}" if value < 1.1 else f"{value:.1f}"


def _rounded(p_value: float) -> str:
    return f"{p_value:.2g}"


def _p_value(one: Floats, other: Floats) -> float:
    return float(scipy.stats.mannwhitneyu(one, other, alternative="two-sided").pvalue)


def _difference(slower: str, faster: str, slow: Floats, fast: Floats, p_value: float) -> Difference:
    runs = min(slow.size, fast.size)
    if min(slow.min(), fast.min()) <= 0:
        return Difference(slower, faster, runs, None, None, None, p_value)
    ratios = np.sort((slow[:, None] / fast[None, :]).ravel())
    low, high = _ends(slow.size, fast.size)
    return Difference(
        slower,
        faster,
        runs,
        float(np.median(ratios)),
        float(ratios[low]),
        float(ratios[high]),
        p_value,
    )


def _ends(slow: int, fast: int) -> tuple[int, int]:
    """Places of the interval's ends among the sorted ratios: U, as normal, leaves 2.5 % on each side."""
    spread = math.sqrt(slow * fast * (slow + fast + 1) / 12)
    place = int(slow * fast / 2 - float(scipy.stats.norm.ppf(0.975)) * spread)
    low = max(0, place - 1)
    return low, slow * fast - 1 - low
