"""Which arm to try although another looks better: Thompson sampling over the ways to run a model.

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

from inference.documents import JsonObject, JsonView

_DRAWS: Final = 4096
_EXPLORE, _HISTORY = "explore", "history"
UNKNOWN_SPREAD: Final = 1.0
"""Without measurements an arm may well be e times better or worse than its probe says."""


@dataclasses.dataclass(frozen=True, order=True)
class Arm:
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


@dataclasses.dataclass(frozen=True)
class Taken:
    """What was decided for a whole run where its caller left it open.

    Attributes:
        explores: whether an arm is tried that would not have been taken anyway.
        arm: where the run goes.
        platforms: by kind of browser, the backend that it uses.
        propensity: with which probability the arm was taken.
        share: of runs that explore.
    """

    explores: bool
    arm: Arm
    platforms: Mapping[str, str]
    propensity: float
    share: float

    @classmethod
    def from_json(cls, document: JsonView) -> Taken:
        return cls(
            document["by"] == _EXPLORE,
            Arm(document["browser"], document["platform"]),
            document["platforms"],
            document["propensity"],
            document["explore_share"],
        )

    def to_json(self) -> JsonObject:
        """As a run's row keeps it and its metrics tell it."""
        return {
            "by": _EXPLORE if self.explores else _HISTORY,
            "browser": self.arm.kind,
            "platform": self.arm.platform,
            "platforms": dict(self.platforms),
            "propensity": self.propensity,
            "explore_share": self.share,
        }


def from_interval(middle: float, low: float, high: float) -> Belief:
    """From the median and the 95 % interval of a ratio."""
    return Belief(math.log(middle), max(0.0, math.log(high / low)) / (2 * 1.96))


def from_probe(probe_ms: float | None, fastest_ms: float | None) -> Belief:
    """What the known-answer model says of an arm that never ran this one."""
    if not probe_ms or not fastest_ms:
        return Belief(0.0, UNKNOWN_SPREAD)
    return Belief(math.log(probe_ms / fastest_ms), UNKNOWN_SPREAD)


def probabilities(beliefs: Mapping[Arm, Belief], rng: np.random.Generator) -> dict[Arm, float]:
    """For each arm the probability that it is the best; sums to 1; empty for no arms."""
    if not beliefs:
        return {}
    arms = sorted(beliefs)
    means = np.array([beliefs[arm].mean for arm in arms])
    spreads = np.array([beliefs[arm].spread for arm in arms])
    draws = means + spreads * rng.standard_normal((_DRAWS, len(arms)))
    wins = np.bincount(np.argmin(draws, axis=1), minlength=len(arms))
    return {arm: float(count) / _DRAWS for arm, count in zip(arms, wins, strict=True)}


def draw(chances: Mapping[Arm, float], uniform: float) -> Arm:
    """The arm at `uniform` in [0, 1) of the cumulated chances."""
    total = 0.0
    for arm, chance in sorted(chances.items()):
        total += chance
        if uniform < total:
            return arm
    return max(arm for arm, chance in chances.items() if chance > 0)


def propensity(arm: Arm, usual: Arm, chances: Mapping[Arm, float], share: float) -> float:
    """The probability with which `arm` was taken, where `usual` is what is taken without exploring."""
    return share * chances.get(arm, 0.0) + (1.0 - share) * (arm == usual)
