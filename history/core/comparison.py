"""Arms compared on one work: medians with intervals, and which differences are real.

Each arm is tested against the fastest with Mann–Whitney's U (two-sided); the p-values of all comparisons are
corrected together by Benjamini and Hochberg. Where the bootstrap interval of the ratio of medians stays
within 5 %, that is said to be a practical equivalence, whatever the p-value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import scipy

from history.core.series import MIN_SAMPLES, Arm, Floats, Series

MARGIN: Final = 0.05
SIGNIFICANT: Final = 0.05
_RESAMPLES: Final = 2000
_LATEST: Final = 500


@dataclasses.dataclass(frozen=True)
class Compared:
    """One arm beside the fastest.

    Attributes:
        median_ms, low_ms, high_ms: median latency and its bootstrap interval (95 %); None under five samples.
        ratio: median / fastest median, with its interval. `p_value`: corrected; None for the fastest itself.
        verdict: fastest, slower, equivalent, undecided, or too few samples.
    """

    arm: Arm
    samples: int
    verdict: str
    median_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    p_value: float | None = None


def compare(series: Sequence[Series], *, seed: int = 0) -> list[Compared]:
    """All arms of one work by their latest 500 samples, fastest first.

    Raises:
        ValueError: the works differ.
    """
    works = {one.work for one in series}
    if len(works) > 1:
        raise ValueError(f"only the same work can be compared; got {len(works)} different ones")
    enough = [one for one in series if one.samples >= MIN_SAMPLES]
    few = [one for one in series if one.samples < MIN_SAMPLES]
    enough.sort(key=lambda one: (float(np.median(one.latencies_ms)), one.arm.key))
    rng = np.random.default_rng(seed)
    rows = [_fastest(one, rng) for one in enough[:1]]
    for one, p_value in zip(enough[1:], _p_values(enough), strict=True):
        rows.append(_beside(one, enough[0], p_value, rng))
    few.sort(key=lambda one: one.arm.key)
    return rows + [Compared(one.arm, one.samples, "too few samples") for one in few]


def _p_values(ordered: Sequence[Series]) -> list[float]:
    raw = [
        scipy.stats.mannwhitneyu(_latest(ordered[0]), _latest(one), alternative="two-sided").pvalue
        for one in ordered[1:]
    ]
    return [float(p) for p in scipy.stats.false_discovery_control(raw)] if raw else []


def _fastest(one: Series, rng: np.random.Generator) -> Compared:
    median = float(np.median(_latest(one)))
    low, high = median_interval(_latest(one), rng)
    return Compared(one.arm, one.samples, "fastest", median, low, high, 1.0, 1.0, 1.0)


def _beside(one: Series, fastest: Series, p_value: float, rng: np.random.Generator) -> Compared:
    own, best = _latest(one), _latest(fastest)
    low, high = median_interval(own, rng)
    median = float(np.median(own))
    interval = scipy.stats.bootstrap(
        (own, best), _ratio, n_resamples=_RESAMPLES, method="percentile", rng=rng
    ).confidence_interval
    ratio = median / float(np.median(best))
    ratio_low, ratio_high = float(interval.low), float(interval.high)
    if max(ratio, ratio_high) <= 1 + MARGIN and ratio_low >= 1 - MARGIN:
        verdict = "equivalent"
    else:
        verdict = "slower" if p_value < SIGNIFICANT else "undecided"
    return Compared(
        one.arm, one.samples, verdict, median, low, high, ratio, ratio_low, ratio_high, p_value
    )


def median_interval(values: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """The bootstrap interval (95 %, percentiles) of the median."""
    found = scipy.stats.bootstrap(
        (values,), np.median, n_resamples=_RESAMPLES, method="percentile", rng=rng
    ).confidence_interval
    return float(found.low), float(found.high)


def _ratio(own: Floats, best: Floats, axis: int = -1) -> Any:
    return np.median(own, axis=axis) / np.median(best, axis=axis)


def _latest(one: Series) -> Floats:
    return one.latencies_ms[-_LATEST:]
