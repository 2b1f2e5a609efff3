"""How much slower the pool's choices were than always taking the best single arm would have been.

Runs carry the probability with which their arm was taken (core/exploration.py). The time of an arm, had it
always been taken, is the mean over its runs, each weighted by 1 / propensity (self-normalised inverse
propensity, Hájek 1971): arms taken often because they looked good are not favoured. Regret is the mean time
as it was, minus that of the best arm. Its interval comes from resampling the runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from inference.core.exploration import Arm

MIN_RUNS: Final = 5
_RESAMPLES: Final = 500


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A run on an arm that was chosen with this probability, and its computation as measured."""

    arm: Arm
    propensity: float
    compute_ms: float

    def __post_init__(self) -> None:
        if not 0 < self.propensity <= 1 or not 0 < self.compute_ms < float("inf"):
            raise ValueError(
                f"expected a propensity in (0, 1] and ms above 0, got {self.propensity} and {self.compute_ms}"
            )


@dataclasses.dataclass(frozen=True)
class Regret:
    """Mean ms per run; None where no other arm has `MIN_RUNS` runs: then nothing can be said.

    Attributes:
        arms: what each arm would have taken, ms, for those with enough runs. `runs`: how many of each.
    """

    runs: Mapping[Arm, int]
    mean_ms: float | None
    arms: Mapping[Arm, float]
    best: Arm | None
    regret_ms: float | None
    low_ms: float | None
    high_ms: float | None


def regret(outcomes: Sequence[Outcome], rng: np.random.Generator) -> Regret:
    """The regret of one model's runs on the same plan."""
    names = sorted({one.arm for one in outcomes})
    which = np.array([names.index(one.arm) for one in outcomes], dtype=np.int64)
    took = np.array([one.compute_ms for one in outcomes])
    weight = np.array([1 / one.propensity for one in outcomes])
    counts = np.bincount(which, minlength=len(names))
    enough = [i for i in range(len(names)) if counts[i] >= MIN_RUNS]
    runs = {arm: int(count) for arm, count in zip(names, counts, strict=True)}
    mean = float(took.mean()) if took.size else None
    means = _means(which, took, weight, len(names))
    arms = {names[i]: float(means[i]) for i in enough}
    if mean is None or len(enough) < 2:
        return Regret(runs, mean, arms, None, None, None, None)
    best = min(enough, key=lambda i: means[i])
    draws = []
    for _ in range(_RESAMPLES):
        at = rng.integers(0, took.size, took.size)
        again = _means(which[at], took[at], weight[at], len(names))
        draws.append(took[at].mean() - np.nanmin(again[enough]))
    low, high = np.quantile(draws, [0.025, 0.975])
    found = mean - float(means[best])
    return Regret(runs, mean, arms, names[best], found, float(low), float(high))


def _means(which: np.ndarray, took: np.ndarray, weight: np.ndarray, arms: int) -> np.ndarray:
    """Weighted mean of each arm; NaN for one without runs."""
    total = np.bincount(which, weights=weight, minlength=arms)
    with np.errstate(invalid="ignore"):
        return np.bincount(which, weights=weight * took, minlength=arms) / total
