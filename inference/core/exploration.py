"""Which way to try although another looks better: Thompson sampling over the ways a model could be run.

1. What is believed of an arm (a kind of browser with a backend) is a normal distribution of the log of its
   cost relative to the best. An arm with measurements has them; one without has its probe's time and a wide
   spread, so that it is tried until it is known.
2. Thompson sampling takes each arm with the probability that it is the best. These probabilities are
   computed once per belief, by draws; to explore is to draw an arm from them.
3. A share ε of the runs explores. The propensity of an arm is ε·P(arm), and for the arm that would be taken
   anyway 1 − ε + ε·P(arm): with it the others' outcome can be estimated without bias.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Final

import numpy as np

_DRAWS: Final = 4096
UNKNOWN_SPREAD: Final = 1.0
"""Without measurements an arm may well be e times better or worse than its probe says."""


@dataclasses.dataclass(frozen=True, order=True)
class Way:
    """A kind of browser with a backend."""

    kind: str
    platform: str


@dataclasses.dataclass(frozen=True)
class Belief:
    """Normal distribution of log(cost / best cost); `spread` is its standard deviation."""

    mean: float
    spread: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.spread) and self.spread >= 0):
            raise ValueError(f"expected finite mean and spread ≥ 0, got {self.mean}, {self.spread}")


def from_interval(middle: float, low: float, high: float) -> Belief:
    """From the median and the 95 % interval of a ratio."""
    return Belief(math.log(middle), max(0.0, math.log(high / low)) / (2 * 1.96))


def from_probe(probe_ms: float | None, fastest_ms: float | None) -> Belief:
    """What the known-answer model says of an arm that never ran this one."""
    if not probe_ms or not fastest_ms:
        return Belief(0.0, UNKNOWN_SPREAD)
    return Belief(math.log(probe_ms / fastest_ms), UNKNOWN_SPREAD)


def probabilities(beliefs: Mapping[Way, Belief], rng: np.random.Generator) -> dict[Way, float]:
    """For each arm the probability that it is the best; sums to 1; empty for no arms."""
    if not beliefs:
        return {}
    ways = sorted(beliefs)
    means = np.array([beliefs[way].mean for way in ways])
    spreads = np.array([beliefs[way].spread for way in ways])
    draws = means + spreads * rng.standard_normal((_DRAWS, len(ways)))
    wins = np.bincount(np.argmin(draws, axis=1), minlength=len(ways))
    return {way: float(count) / _DRAWS for way, count in zip(ways, wins, strict=True)}


def draw(chances: Mapping[Way, float], uniform: float) -> Way:
    """The arm at `uniform` in [0, 1) of the cumulated chances."""
    total = 0.0
    for way, chance in sorted(chances.items()):
        total += chance
        if uniform < total:
            return way
    return max(way for way, chance in chances.items() if chance > 0)


def propensity(way: Way, usual: Way, chances: Mapping[Way, float], share: float) -> float:
    """The probability with which `way` was taken, where `usual` is what is taken without exploring."""
    return share * chances.get(way, 0.0) + (1.0 - share) * (way == usual)
