"""Capability scores: how well a kind of browser does a type of model, 0 to 100.

1. Browsers are compared where they did the same work with the same backend on the same kind of adapter.
   There latency and memory become best / own and throughput own / best: no unit is left, the best has 1.
2. These are averaged geometrically over all such places, each weighted by its samples, then over the metrics
   with weights 1.0 (latency), 0.8 (throughput) and 0.5 (memory). A metric that was not measured is left out
   with its weight.
3. The score is 100 times that, times Wilson's lower bound of the success rate.
4. The interval (95 %) comes from draws of the medians (evidence.py); the confidence is the probability
   that the true score is within `CLOSE` points of the one shown, at most `ALONE` where no other browser did
   the same work.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from history.core.evidence import draw_medians
from history.core.reliability import Reliability, of_browser
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
    types = sorted({one.work.model_type for one in series})
    found: list[Score] = []
    for model_type in types:
        found += _of_type(model_type, [s for s in series if s.work.model_type == model_type], seed)
    return found


def _of_type(model_type: str, series: Sequence[Series], seed: int) -> list[Score]:
    rng = np.random.default_rng(seed)
    ordered = sorted(series, key=lambda s: (s.work, s.arm.key))
    parts = {
        "latency": _relative(ordered, "latencies_ms", rng, higher_is_better=False),
        "throughput": _relative(ordered, "throughputs", rng, higher_is_better=True),
        "memory": _relative(ordered, "memory_mb", rng, higher_is_better=False),
    }
    found = []
    for browser in sorted(parts["latency"]):
        known = {name: part[browser] for name, part in parts.items() if browser in part}
        samples = sum(s.samples for s in series if s.arm.browser == browser)
        found.append(_score(browser, model_type, known, of_browser(series, browser), samples))
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
    series: Sequence[Series], name: str, rng: np.random.Generator, *, higher_is_better: bool
) -> dict[str, _Relative]:
    """Each browser's metric relative to the best, over the places where it was compared."""
    places: dict[_Place, dict[str, Floats]] = defaultdict(dict)
    weights: dict[_Place, int] = defaultdict(int)
    for one in series:
        values: Floats = getattr(one, name)
        if values.size < MIN_SAMPLES:
            continue
        place = (one.work, one.arm.platform, str(one.arm.software))
        medians = np.concatenate([[np.median(np.log(values))], draw_medians(values, rng, _DRAWS)])
        places[place][one.arm.browser] = medians if higher_is_better else -medians
        weights[place] += values.size
    return {
        browser: _over_places(browser, places, weights)
        for browser in {b for merits in places.values() for b in merits}
    }


def _over_places(
    browser: str,
    places: Mapping[_Place, Mapping[str, Floats]],
    weights: Mapping[_Place, int],
) -> _Relative:
    there = [place for place in sorted(places) if browser in places[place]]
    compared = [place for place in there if len(places[place]) > 1]
    logs = [
        places[place][browser] - np.max(list(places[place].values()), axis=0)
        for place in compared or there
    ]
    total = np.average(logs, axis=0, weights=[weights[place] for place in compared or there])
    return _Relative(total, frozenset(_names(places[p] for p in there)) - {browser})


def _names(merits: Iterable[Mapping[str, Floats]]) -> set[str]:
    return {browser for one in merits for browser in one}
