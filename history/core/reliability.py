"""How often a browser answers: successes and failures with Wilson's interval of the success rate."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from history.core.series import Arm, Series

SOUND_RATE: Final = 0.95
"""An arm that surely fails more than one computation in twenty is recommended to nobody."""
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
        return self.high < SOUND_RATE

    def __str__(self) -> str:
        return f"{self.failures} of {self.successes + self.failures} computations failed"


def reliability(successes: int, failures: int) -> Reliability:
    """Wilson's interval (1927) in closed form: scipy's binomtest takes a millisecond for each."""
    if successes < 0 or failures < 0:
        raise ValueError(f"expected counts, got {successes} successes and {failures} failures")
    n = successes + failures
    if n == 0:
        return Reliability(0, 0, 0.0, 1.0)
    rate, z2 = successes / n, _Z * _Z
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * float(np.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n)))
    return Reliability(successes, failures, max(0.0, centre - half), min(1.0, centre + half))


def of_arms(series: Sequence[Series]) -> dict[Arm, Reliability]:
    """Of each arm over all its work; failures before a backend was known count against all of a browser."""
    arms = {one.arm for one in series}
    return {
        arm: _total(
            one for one in series if one.arm == arm or _blames(one.arm, arm.browser)
        )
        for arm in arms
    }  # fmt: skip


def of_browser(series: Sequence[Series], browser: str) -> Reliability:
    return _total(one for one in series if one.arm.browser == browser)


def _blames(arm: Arm, browser: str) -> bool:
    return arm.browser == browser and not arm.platform


def _total(series: Iterable[Series]) -> Reliability:
    counts = [(one.successes, one.failures) for one in series]
    return reliability(sum(good for good, _ in counts), sum(bad for _, bad in counts))
