"""How good each arm is, with its uncertainty: the cost of an answer relative to the best, in draws.

1. Of each series with enough samples the median log latency is uncertain by its standard error, with a t
   distribution of n − 1 degrees of freedom: se = 1.2533 · s / √n, the asymptotic error of a normal sample's
   median. Centre and s are robust (median, MAD), s never below `_LEAST_SPREAD`. n is the effective number of
   samples, n · (1 − ρ) / (1 + ρ): neighbours in time are alike (ρ is their correlation).
2. Success is uncertain by Jeffreys' posterior, Beta(successes + ½, failures + ½), over all of the arm's
   work. A failure costs another try, so that an answer costs latency / success rate.
3. On each work the cost of every arm is divided by that of the best arm of the same draw. An arm's total is
   the mean of these log ratios over the works it did, each weighted by how often the pool did it. Of an
   arm's works the `MOST_WORKS` with most samples decide.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import scipy

from history.core.draws import Draws
from history.core.ranks import in_order, median
from history.core.reliability import Reliability, of_arms
from history.core.series import MIN_SAMPLES, Arm, Floats, Series, Work

DRAWS: Final = 1000
MOST_WORKS: Final = 1000
"""So many works settle how arms compare, and keep the time of a decision in bounds."""
_LEAST_SPREAD: Final = 0.01
"""Clocks and neighbours: no machine repeats itself more exactly than this, however few samples agree."""
_MEDIAN_ERROR: Final = float(np.sqrt(np.pi / 2))
_MOST_ALIKE: Final = 0.9


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is known of one arm.

    Attributes:
        log_ratio: draws of log(cost / best cost), shape (draws,), at least 0. `ascending`: in order of size.
        samples: latencies behind it. `works`: on how many works, `rivals`: with how many other arms.
    """

    arm: Arm
    log_ratio: Floats
    ascending: Floats
    samples: int
    works: int
    rivals: int
    reliability: Reliability


class _Total:
    """An arm's costs over the best, summed over the works it did. `lost`: log of what failures add."""

    __slots__ = ("lost", "rivals", "total", "weight")

    def __init__(self, lost: Floats) -> None:
        self.lost, self.weight = lost, 0.0
        self.total: Floats | None = None
        self.rivals: set[Arm] = set()

    def add(self, log_ratio: Floats, weight: float, together: Iterable[Arm]) -> None:
        more = weight * log_ratio
        self.total = more if self.total is None else self.total + more
        self.weight += weight
        self.rivals.update(together)


def draw_medians(values: Floats, draws: Draws) -> tuple[float, Floats]:
    """The median of the logarithms, and draws of it, shape (draws.count,); needs two values above zero."""
    logs = np.log(values)
    listed = logs.tolist()
    centre = median(listed)
    spread = max(1.4826 * median([abs(value - centre) for value in listed]), _LEAST_SPREAD)
    size = effective_size(logs)
    error = _MEDIAN_ERROR * spread / math.sqrt(size)
    return centre, centre + error * draws.student(size - 1)


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


def weigh(
    series: Sequence[Series], compared: Sequence[Sequence[Series]], draws: Draws
) -> list[Evidence]:
    """Each arm's evidence, in order of the arms' names; arms with fewer than `MIN_SAMPLES` are left out.

    `compared`: the series of works that several arms did (`shared_works`).
    """
    reliable = of_arms(series)
    samples, works = _counts(series)
    # Work that one arm did alone says nothing of who is better; it counts only where there is no other.
    if not compared:
        nothing = np.zeros(draws.count)
        alone = sorted({s.arm for s in series if s.samples >= MIN_SAMPLES}, key=_key)
        return [
            Evidence(arm, nothing, nothing, samples[arm], works[arm], 0, reliable[arm])
            for arm in alone
        ]
    arms = sorted({s.arm for together in compared for s in together}, key=_key)
    totals = {arm: _Total(_lost(reliable[arm], draws)) for arm in arms}
    for together in compared:
        summed = [totals[s.arm] for s in together]
        costs = [
            draw_medians(s.latencies_ms, draws)[1] + of.lost
            for s, of in zip(together, summed, strict=True)
        ]
        best = functools.reduce(np.minimum, costs)
        weight, here = float(sum(s.samples for s in together)), [s.arm for s in together]
        for of, cost in zip(summed, costs, strict=True):
            of.add(cost - best, weight, here)
    found = []
    for arm, of in totals.items():
        assert of.total is not None  # it is an arm of one of `compared`
        log_ratio, rivals = of.total / of.weight, len(of.rivals) - 1
        ascending = in_order(log_ratio)
        found.append(
            Evidence(
                arm, log_ratio, ascending, samples[arm], works[arm], rivals, reliable[arm]
            )
        )  # fmt: skip
    return found


def _lost(reliable: Reliability, draws: Draws) -> Floats:
    return -draws.log_success(reliable.successes, reliable.failures)


def heaviest(works: Sequence[Sequence[Series]]) -> Sequence[Sequence[Series]]:
    """Of many works those with most samples, in their order: of each arm at least `MOST_WORKS`, or all."""
    if len(works) <= MOST_WORKS:
        return works
    sizes = [sum(one.samples for one in together) for together in works]
    counts: dict[Arm, int] = defaultdict(int)
    chosen = []
    for at in sorted(range(len(works)), key=lambda at: (-sizes[at], at)):
        if any(counts[one.arm] < MOST_WORKS for one in works[at]):
            chosen.append(at)
            for one in works[at]:
                counts[one.arm] += 1
    return [works[at] for at in sorted(chosen)]


def _key(arm: Arm) -> tuple[str, str, str]:
    return arm.key


def shared_works(series: Sequence[Series]) -> Sequence[Sequence[Series]]:
    """Series with enough samples of each work that several arms did, in order of works and arms."""
    by_work: dict[Work, list[Series]] = defaultdict(list)
    for one in series:
        if one.latencies_ms.size >= MIN_SAMPLES:
            by_work[one.work].append(one)
    shared = sorted(work for work, together in by_work.items() if len(together) > 1)
    return heaviest([sorted(by_work[work], key=lambda one: one.arm.key) for work in shared])


def _counts(series: Sequence[Series]) -> tuple[dict[Arm, int], dict[Arm, int]]:
    samples: dict[Arm, int] = defaultdict(int)
    works: dict[Arm, int] = defaultdict(int)
    for one in series:
        size = one.latencies_ms.size
        samples[one.arm] += size
        works[one.arm] += size > 0
    return samples, works


def within_best(evidence: Sequence[Evidence], margin: float = 0.05) -> Mapping[Arm, float]:
    """The probability of each arm that its cost is within `margin` of the best arm's."""
    if not evidence:
        return {}
    if len(evidence) == 1:
        return {evidence[0].arm: 1.0}
    limit = functools.reduce(np.minimum, [one.log_ratio for one in evidence]) + math.log1p(margin)
    return {
        one.arm: np.count_nonzero(one.log_ratio <= limit) / limit.size for one in evidence
    }  # fmt: skip
