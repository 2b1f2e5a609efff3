"""How good each arm is, with its uncertainty: the cost of an answer relative to the best, in draws.

1. Of each series with enough samples the median log latency is uncertain by its standard error, with a t
   distribution of n − 1 degrees of freedom: se = 1.2533 · s / √n, the asymptotic error of a normal sample's
   median. Centre and s are robust (median, MAD), s never below `_LEAST_SPREAD`. n is the effective number of
   samples, n · (1 − ρ) / (1 + ρ): neighbours in time are alike (ρ is their correlation).
2. Success is uncertain by Jeffreys' posterior, Beta(successes + ½, failures + ½), over all of the arm's
   work. A failure costs another try, so that an answer costs latency / success rate.
3. On each work the cost of every arm is divided by that of the best arm of the same draw. An arm's total is
   the mean of these log ratios over the works it did, each weighted by how often the pool did it.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import scipy

from history.core.reliability import Reliability, of_arms
from history.core.series import MIN_SAMPLES, Arm, Floats, Series, Work

DRAWS: Final = 2000
_LEAST_SPREAD: Final = 0.01
"""Clocks and neighbours: no machine repeats itself more exactly than this, however few samples agree."""
_MEDIAN_ERROR: Final = float(np.sqrt(np.pi / 2))
_MOST_ALIKE: Final = 0.9


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is known of one arm.

    Attributes:
        log_ratio: draws of log(cost / best cost), shape (draws,), at least 0.
        samples: latencies behind it. `works`: on how many works, `rivals`: with how many other arms.
    """

    arm: Arm
    log_ratio: Floats
    samples: int
    works: int
    rivals: int
    reliability: Reliability


def draw_medians(latencies_ms: Floats, rng: np.random.Generator, draws: int = DRAWS) -> Floats:
    """Draws of the median log latency, log ms, shape (draws,); needs two samples."""
    logs = np.log(latencies_ms)
    centre = float(np.median(logs))
    spread = max(1.4826 * float(np.median(np.abs(logs - centre))), _LEAST_SPREAD)
    size = effective_size(logs)
    error = _MEDIAN_ERROR * spread / np.sqrt(size)
    return centre + error * rng.standard_t(max(1.0, size - 1), draws)


def effective_size(values: Floats) -> float:
    """How many independent values a series in order of time is worth, at least 2.

    By the rank correlation of neighbours; the estimate of a short series says little and is not used.
    """
    n = values.size
    if n < 4 * MIN_SAMPLES or np.ptp(values) == 0:
        return float(max(2, n))
    ranks = scipy.stats.rankdata(values)
    alike = float(np.corrcoef(ranks[:-1], ranks[1:])[0, 1])
    alike = min(max(alike, 0.0), _MOST_ALIKE)
    return max(2.0, n * (1 - alike) / (1 + alike))


def weigh(series: Sequence[Series], rng: np.random.Generator, draws: int = DRAWS) -> list[Evidence]:
    """Each arm's evidence, in order of the arms' names; arms with fewer than `MIN_SAMPLES` are left out."""
    reliable = of_arms(series)
    lost = {
        arm: -np.log(np.maximum(rng.beta(r.successes + 0.5, r.failures + 0.5, draws), 1e-9))
        for arm, r in sorted(reliable.items(), key=lambda item: item[0].key)
    }
    by_work = usable(series)
    compared = [together for together in by_work.values() if len(together) > 1]
    totals: dict[Arm, Floats] = {}
    weights: dict[Arm, float] = defaultdict(float)
    rivals: dict[Arm, set[Arm]] = defaultdict(set)
    # Work that one arm did alone says nothing of who is better; it counts only where there is no other.
    for together in compared or by_work.values():
        costs = {s.arm: draw_medians(s.latencies_ms, rng, draws) + lost[s.arm] for s in together}
        best = np.min(list(costs.values()), axis=0)
        weight = float(sum(s.samples for s in together))
        for arm, cost in costs.items():
            totals[arm] = totals.get(arm, np.zeros(draws)) + weight * (cost - best)
            weights[arm] += weight
            rivals[arm] |= costs.keys() - {arm}
    samples, works = _counts(series)
    return [
        Evidence(
            arm, total / weights[arm], samples[arm], works[arm], len(rivals[arm]), reliable[arm]
        )
        for arm, total in sorted(totals.items(), key=lambda item: item[0].key)
    ]


def usable(series: Sequence[Series]) -> dict[Work, list[Series]]:
    """Series with enough samples by work, in order of works and arms."""
    by_work: dict[Work, list[Series]] = defaultdict(list)
    for one in sorted(series, key=lambda s: (s.work, s.arm.key)):
        if one.samples >= MIN_SAMPLES:
            by_work[one.work].append(one)
    return dict(by_work)


def _counts(series: Sequence[Series]) -> tuple[dict[Arm, int], dict[Arm, int]]:
    samples: dict[Arm, int] = defaultdict(int)
    works: dict[Arm, int] = defaultdict(int)
    for one in series:
        samples[one.arm] += one.samples
        works[one.arm] += one.samples > 0
    return samples, works


def within_best(evidence: Sequence[Evidence], margin: float = 0.05) -> Mapping[Arm, float]:
    """The probability of each arm that its cost is within `margin` of the best arm's."""
    if not evidence:
        return {}
    ratios = np.stack([one.log_ratio for one in evidence])
    close = ratios <= ratios.min(axis=0) + np.log1p(margin)
    return {one.arm: float(p) for one, p in zip(evidence, close.mean(axis=1), strict=True)}
