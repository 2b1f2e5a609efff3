"""Capability scores: how well a kind of browser does a type of model, 0 to 100.

1. Browsers are compared where they did the same work with the same backend on the same kind of adapter.
   There latency and memory become best / own and throughput own / best: no unit is left, the best has 1.
2. These are averaged geometrically over all such places (of thousands, those with most samples), each
   weighted by its samples, then over the metrics with weights 1.0 (latency), 0.8 (throughput) and 0.5
   (memory). A metric that was not measured is left out with its weight.
3. The score is 100 times that, times Wilson's lower bound of the success rate.
4. The interval (95 %) comes from draws of the medians (evidence.py); the confidence is the probability
   that the true score is within `CLOSE` points of the one shown, at most `ALONE` where no other browser did
   the same work.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from history.core.draws import Draws
from history.core.evidence import draw_medians, heaviest
from history.core.reliability import Reliability, of_browsers
from history.core.series import MIN_SAMPLES, Floats, Series, Work

WEIGHTS: Final[Mapping[str, float]] = {"latency": 1.0, "throughput": 0.8, "memory": 0.5}
CLOSE: Final = 5.0
ALONE: Final = 0.3
_DRAWS: Final = 1000
_Place = tuple[Work, str, str]


@dataclasses.dataclass(frozen=True)
class Score:
    """A capability score with what it rests on.

    Attributes:
        low, high: 95 % interval of the score.
        confidence: probability that the true score is within five points of it.
        metrics: relative latency, throughput and memory (1 is the best; None: not measured), the lower
            bound of the success rate, the counts, and with how many browsers it was compared.
    """

    browser: str
    model_type: str
    score: float
    low: float
    high: float
    confidence: float
    sample_size: int
    metrics: Mapping[str, float | int | None]


@dataclasses.dataclass(frozen=True)
class _Relative:
    """Log of a metric relative to the best: the estimate and draws of it, shape (1 + draws,)."""

    logs: Floats
    rivals: frozenset[str]


def capability_scores(series: Sequence[Series], *, seed: int = 0) -> list[Score]:
    """Scores for every browser and model type with at least five samples, in order of type and name."""
    by_type: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        by_type[one.work.model_type].append(one)
    return [score for name in sorted(by_type) for score in _of_type(name, by_type[name], seed)]


def _of_type(model_type: str, series: Sequence[Series], seed: int) -> list[Score]:
    draws = Draws(seed, _DRAWS)
    ordered = sorted(series, key=lambda s: (s.work, s.arm.key))
    parts = {
        "latency": _relative(ordered, "latencies_ms", draws, higher_is_better=False),
        "throughput": _relative(ordered, "throughputs", draws, higher_is_better=True),
        "memory": _relative(ordered, "memory_mb", draws, higher_is_better=False),
    }
    reliable = of_browsers(series)
    samples: dict[str, int] = defaultdict(int)
    for one in series:
        samples[one.arm.browser] += one.samples
    found = []
    for browser in sorted(parts["latency"]):
        known = {name: part[browser] for name, part in parts.items() if browser in part}
        found.append(_score(browser, model_type, known, reliable[browser], samples[browser]))
    return found


def _score(
    browser: str,
    model_type: str,
    known: Mapping[str, _Relative],
    reliable: Reliability,
    samples: int,
) -> Score:
    draws = 100.0 * reliable.low * _blend(known)
    shown, uncertain = float(draws[0]), draws[1:]
    low, high = np.quantile(uncertain, [0.025, 0.975])
    rivals = known["latency"].rivals
    sure = float(np.mean(np.abs(uncertain - shown) <= CLOSE))
    metrics: dict[str, float | int | None] = {
        name: float(np.exp(known[name].logs[0])) if name in known else None for name in WEIGHTS
    }
    return Score(
        browser=browser,
        model_type=model_type,
        score=shown,
        low=min(float(low), shown),
        high=max(float(high), shown),
        confidence=sure if rivals else min(sure, ALONE),
        sample_size=samples,
        metrics={
            **metrics,
            "success_low": reliable.low,
            "successes": reliable.successes,
            "failures": reliable.failures,
            "compared_with": len(rivals),
        },
    )


def _blend(known: Mapping[str, _Relative]) -> Floats:
    """The weighted geometric mean of the metrics that were measured, at most 1."""
    weight = sum(WEIGHTS[name] for name in known)
    total = np.sum([WEIGHTS[name] * part.logs for name, part in known.items()], axis=0)
    return np.exp(np.minimum(total / weight, 0.0))


def _relative(
    series: Sequence[Series], name: str, draws: Draws, *, higher_is_better: bool
) -> dict[str, _Relative]:
    """Each browser's metric relative to the best, over the places where it was compared.

    One that was nowhere compared is its own best.
    """
    places: dict[_Place, list[Series]] = defaultdict(list)
    for one in series:
        if getattr(one, name).size >= MIN_SAMPLES:
            places[one.work, one.arm.platform, str(one.arm.software)].append(one)
    compared = heaviest([together for together in places.values() if len(together) > 1])
    totals: dict[str, Floats] = {}
    weights: dict[str, int] = defaultdict(int)
    rivals: dict[str, set[str]] = defaultdict(set)
    for together in compared:
        merits = {
            one.arm.browser: _merit(getattr(one, name), draws, higher_is_better) for one in together
        }
        best = functools.reduce(np.maximum, merits.values())
        weight = sum(getattr(one, name).size for one in together)
        for browser, merit in merits.items():
            totals[browser] = totals.get(browser, 0.0) + weight * (merit - best)
            weights[browser] += weight
            rivals[browser] |= merits.keys() - {browser}
    alone = {one.arm.browser for together in places.values() for one in together} - totals.keys()
    own_best = _Relative(np.zeros(1 + draws.count), frozenset())
    return {
        **dict.fromkeys(alone, own_best),
        **{
            browser: _Relative(total / weights[browser], frozenset(rivals[browser]))
            for browser, total in totals.items()
        },
    }


def _merit(values: Floats, draws: Draws, higher_is_better: bool) -> Floats:
    """Log of the median, then draws of it; the higher the better; shape (1 + draws.count,)."""
    centre, drawn = draw_medians(values, draws)
    medians = np.concatenate([[centre], drawn])
    return medians if higher_is_better else -medians
