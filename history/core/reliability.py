"""How often a browser answers: successes and failures with Wilson's interval of the success rate."""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from history.core.series import MIN_SAMPLES, Arm, Series

SOUND_RATE: Final = 0.95
"""An arm that surely fails more than one computation in twenty is recommended to nobody."""
LEAST_TRIALS: Final = MIN_SAMPLES
"""Fewer computations refuse no arm, whatever became of them."""
_Z: Final = statistics.NormalDist().inv_cdf(0.975)


@dataclasses.dataclass(frozen=True)
class Reliability:
    """`low` and `high`: Wilson's interval of the success rate, 95 %; 0 and 1 without any trial."""

    successes: int
    failures: int
    low: float
    high: float

    @property
    def fails(self) -> bool:
        return self.successes + self.failures >= LEAST_TRIALS and self.high < SOUND_RATE

    def __str__(self) -> str:
        return f"{self.failures} of {self.successes + self.failures} computations failed"


@functools.lru_cache(maxsize=10_000)
def reliability(successes: int, failures: int) -> Reliability:
    """Wilson's interval (1927) in closed form: scipy's binomtest takes a millisecond for each."""
    if successes < 0 or failures < 0:
        raise ValueError(f"expected counts, got {successes} successes and {failures} failures")
    n = successes + failures
    if n == 0:
        return Reliability(0, 0, 0.0, 1.0)
    rate, z2 = successes / n, _Z * _Z
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return Reliability(successes, failures, max(0.0, centre - half), min(1.0, centre + half))


def of_arms(series: Sequence[Series]) -> dict[Arm, Reliability]:
    """Of each arm over all its work; failures before a backend was known count against all of a browser."""
    good, bad = _counts(series)
    early: dict[str, int] = defaultdict(int)
    for arm in bad:
        if not arm.platform:
            early[arm.browser] += bad[arm]
    return {
        arm: reliability(good[arm], bad[arm] + early[arm.browser] if arm.platform else bad[arm])
        for arm in good
    }  # fmt: skip


def of_browsers(series: Sequence[Series]) -> Mapping[str, Reliability]:
    """Of each browser over all its work on all its backends."""
    good, bad = _counts(series)
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for arm in good:
        totals[arm.browser][0] += good[arm]
        totals[arm.browser][1] += bad[arm]
    return {browser: reliability(*counts) for browser, counts in totals.items()}


def _counts(series: Sequence[Series]) -> tuple[dict[Arm, int], dict[Arm, int]]:
    good: dict[Arm, int] = defaultdict(int)
    bad: dict[Arm, int] = defaultdict(int)
    for one in series:
        good[one.arm] += one.successes
        bad[one.arm] += one.failures
    return good, bad
