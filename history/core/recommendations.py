"""Which browser for a model: the best evidence there is, and how sure it makes us.

Evidence in order: measurements of this very model, of models of its type, capability scores of other types,
a documented starting preference. Confidence is the probability that the choice is within 5 % of the best arm
(evidence.py). Other models of the type carry at most `POOLED_CONFIDENCE`, scores of other types
`SCORES_CONFIDENCE`, an arm that was compared with no other `UNCOMPARED_CONFIDENCE`, a starting preference
`DEFAULT_CONFIDENCE`, which is no measurement. An arm with fewer samples than are needed is told as one of
which little is known, and never comes before one that has enough.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
import scipy

from history.core.batching import BatchTimes, batch_times
from history.core.draws import Draws
from history.core.evidence import DRAWS, Evidence, shared_works, weigh, within_best
from history.core.preferences import DEFAULT_CONFIDENCE, ON_BATTERY, STARTING_PREFERENCES
from history.core.ranks import false_discoveries, in_order, quantile, slower
from history.core.reliability import of_arms, of_browsers
from history.core.scores import Score
from history.core.series import MIN_SAMPLES, Arm, Floats, Series, Work

EQUIVALENT: Final = 0.05
SIGNIFICANT: Final = 0.05
POOLED_CONFIDENCE: Final = 0.7
SCORES_CONFIDENCE: Final = 0.5
UNCOMPARED_CONFIDENCE: Final = 0.5


class Basis(enum.StrEnum):
    MODEL = "model"
    MODEL_TYPE = "model_type"
    SCORES = "scores"
    DEFAULT = "default"


class Standing(enum.StrEnum):
    """An arm beside the recommended one."""

    RECOMMENDED = "recommended"
    EQUIVALENT = "equivalent"  # the whole 95 % interval of the difference is within 5 %
    WORSE = "worse"  # slower by a test that counts all comparisons, or costing surely more
    UNDECIDED = "undecided"  # perhaps better, perhaps not: more samples are needed
    LITTLE_DATA = "little data"  # too few samples to say anything of it
    REFUSED = "refused"  # it fails


@dataclasses.dataclass(frozen=True)
class ArmEvidence:
    """One arm as people read it.

    Attributes:
        ratio: median of cost / best cost, with its 95 % interval; None under five samples.
        within_best: probability that it is within 5 % of the best of those that do not fail.
        p_value: Mann–Whitney against the recommended arm on the same work (one-sided: slower), works combined
            by Stouffer, arms corrected by Benjamini and Hochberg; None where they share no work.
        why: the reason of a refusal, else empty.
    """

    browser: str
    platform: str
    software: bool | None
    samples: int
    works: int
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    within_best: float
    p_value: float | None
    successes: int
    failures: int
    success_low: float
    standing: Standing
    why: str = ""

    @property
    def arm(self) -> Arm:
        return Arm(self.browser, self.platform, self.software)


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """The choice and its evidence, best arm first.

    Attributes:
        browser: empty where every arm that was measured enough fails: then nothing is recommended.
        sample_size: latencies of the recommended arm.
        equivalent: arms that are the recommended one's practical equals.
        batches: of this very model on the recommended arm, what a row cost by size of the batch.
    """

    browser: str
    platform: str
    confidence: float
    sample_size: int
    based_on: Basis
    evidence: tuple[ArmEvidence, ...] = ()
    equivalent: tuple[str, ...] = ()
    batches: tuple[BatchTimes, ...] = ()


def recommend(
    model_type: str,
    series: Sequence[Series],
    scores: Sequence[Score],
    available: Collection[str],
    *,
    on_battery: bool = False,
    seed: int = 0,
) -> dict[str, Recommendation]:
    """What is recommended for a type of model, by name of model; the empty name is any model of the type.

    A name is left out where its model has no say of its own: then the type's answer holds. Nothing at all
    when nothing is known and no preferred browser is there.

    Args:
        series: of all models of this type, whatever the arm; `seed` makes the draws repeatable.
        scores: of all types.
        available: kinds of browser that exist here; only a starting preference needs it.
    """
    of_type = OfType(model_type, series, scores, available, on_battery=on_battery, seed=seed)
    by_name: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        by_name[one.work.model_name].append(one.for_its_model())
    answers = {name: of_model(own, of_type, seed=seed) for name, own in sorted(by_name.items())}
    return {
        name: answer
        for name, answer in {"": of_type.without(frozenset()), **answers}.items()
        if answer is not None
    }


class OfType:
    """What is said of a type of models, and of those of its arms that a model can use."""

    def __init__(
        self,
        model_type: str,
        series: Sequence[Series],
        scores: Sequence[Score],
        available: Collection[str],
        *,
        on_battery: bool,
        seed: int,
    ) -> None:
        self._model_type, self._series, self._scores = model_type, series, scores
        self._available, self._on_battery, self._seed = available, on_battery, seed
        self._known: dict[frozenset[Arm], Recommendation | None] = {}

    def without(self, failing: frozenset[Arm]) -> Recommendation | None:
        """The type's answer as if it had none of these arms; None where nothing is known of the others."""
        if failing not in self._known:
            self._known[failing] = self._decided(failing)
        return self._known[failing]

    def _decided(self, failing: frozenset[Arm]) -> Recommendation | None:
        left = [one for one in self._series if one.arm not in failing]
        found = from_measurements(left, Basis.MODEL_TYPE, seed=self._seed)
        if found is not None:
            return found
        kinds = {name for name, known in of_browsers(self._series).items() if known.fails}
        kinds |= {arm.browser for arm in failing} - {s.arm.browser for s in left if s.samples}
        here = [browser for browser in self._available if browser not in kinds]
        answer = _from_scores(self._scores, kinds) or _from_preferences(
            self._model_type, left, here, on_battery=self._on_battery
        )
        return answer and dataclasses.replace(answer, evidence=tuple(little_known(left)))


def of_model(
    own: Sequence[Series], of_type: OfType | None, *, seed: int = 0
) -> Recommendation | None:
    """What a model's own measurements say; None where they leave the answer to its type.

    With fewer than five samples of the same work that is its type's best, whatever this model ran on
    meanwhile, but for arms where this model fails.
    """
    found = from_measurements(own, Basis.MODEL, seed=seed)
    if found is not None or of_type is None or of_type.without(frozenset()) is None:
        return found
    failing = {arm for arm, known in of_arms(own).items() if known.fails and arm.platform}
    if not failing:
        return None
    left = of_type.without(frozenset(failing))
    if left is None:
        return Recommendation("", "", 0.0, 0, Basis.MODEL, tuple(little_known(own)))
    refused = (one for one in little_known(own) if one.standing == Standing.REFUSED)
    return dataclasses.replace(left, evidence=(*left.evidence, *refused))


def from_measurements(
    series: Sequence[Series], basis: Basis, *, seed: int = 0
) -> Recommendation | None:
    """The arm most likely within 5 % of the best of those that do not fail; None without five samples."""
    compared = shared_works(series)
    weighed = weigh(series, compared, Draws(seed, DRAWS))
    sound = [one for one in weighed if not one.reliability.fails]
    if not sound:
        return None
    close = within_best(sound, EQUIVALENT)
    order = sorted(
        sound,
        key=lambda e: (-close[e.arm], quantile(e.ascending, 0.5), -e.samples, e.arm.key),
    )
    best = order[0]
    p_values = slower_than(best.arm, [one.arm for one in order[1:]], compared)
    listed = [
        _shown(one, best, close[one.arm], p_values.get(one.arm)) for one in order
    ]  # fmt: skip
    return Recommendation(
        browser=best.arm.browser,
        platform=best.arm.platform,
        confidence=min(close[best.arm], _most_sure(best, basis)),
        sample_size=best.samples,
        based_on=basis,
        evidence=(*listed, *little_known(series, {one.arm for one in sound})),
        equivalent=tuple(
            str(one.arm) for one in listed if one.standing == Standing.EQUIVALENT
        ),
        batches=batch_times(series, best.arm) if basis == Basis.MODEL else (),
    )  # fmt: skip


def _most_sure(best: Evidence, basis: Basis) -> float:
    """Other models say less than the model itself; who was compared with nobody is not known to be best."""
    pooled = POOLED_CONFIDENCE if basis == Basis.MODEL_TYPE else 1.0
    return min(pooled, 1.0 if best.rivals else UNCOMPARED_CONFIDENCE)


def slower_than(
    best: Arm, others: Sequence[Arm], compared: Sequence[Sequence[Series]]
) -> dict[Arm, float]:
    """Corrected p-values that each of `others` is slower than `best` on the same work."""
    tests: dict[Arm, list[tuple[float, int]]] = defaultdict(list)
    wanted = set(others)
    for together in compared if wanted else ():
        of = {one.arm: one.latencies_ms for one in together}
        for arm in of.keys() & wanted if best in of else ():
            tests[arm].append((slower(of[arm], of[best]), of[arm].size + of[best].size))
    if not tests:
        return {}
    raw = {arm: _combined(tests[arm]) for arm in others if arm in tests}
    return dict(zip(raw, false_discoveries(list(raw.values())), strict=True))


def _combined(tests: Sequence[tuple[float, int]]) -> float:
    """Stouffer's method over works, weighted by samples."""
    if len(tests) == 1:
        return tests[0][0]
    inside = np.clip([p for p, _ in tests], 1e-300, 1 - 1e-16)
    weights = np.sqrt([size for _, size in tests])
    return float(scipy.stats.combine_pvalues(inside, method="stouffer", weights=weights).pvalue)


def _standing(difference: Floats, p_value: float | None) -> Standing:
    """`difference`: draws of the log of its cost over the recommended arm's, ascending."""
    low, high = quantile(difference, 0.025), quantile(difference, 0.975)
    if max(-low, high) <= math.log1p(EQUIVALENT):
        return Standing.EQUIVALENT
    surely = low > math.log1p(EQUIVALENT)
    slower_too = p_value is not None and p_value < SIGNIFICANT
    return Standing.WORSE if surely or slower_too else Standing.UNDECIDED


def _interval(ascending: Floats) -> tuple[float, float, float]:
    return quantile(ascending, 0.025), quantile(ascending, 0.5), quantile(ascending, 0.975)


def _shown(one: Evidence, best: Evidence, within: float, p_value: float | None) -> ArmEvidence:
    low, middle, high = map(math.exp, _interval(one.ascending))
    if one is best:
        standing = Standing.RECOMMENDED
    else:
        standing = _standing(in_order(one.log_ratio - best.log_ratio), p_value)
    return ArmEvidence(
        browser=one.arm.browser,
        platform=one.arm.platform,
        software=one.arm.software,
        samples=one.samples,
        works=one.works,
        ratio=middle,
        ratio_low=low,
        ratio_high=high,
        within_best=within,
        p_value=p_value,
        successes=one.reliability.successes,
        failures=one.reliability.failures,
        success_low=one.reliability.low,
        standing=standing,
    )


def little_known(series: Sequence[Series], weighed: Collection[Arm] = ()) -> list[ArmEvidence]:
    """All arms but those that were weighed: they fail, or too little is known to compare them."""
    if all(one.arm in weighed for one in series):
        return []
    samples: dict[Arm, int] = defaultdict(int)
    works: dict[Arm, set[Work]] = defaultdict(set)
    for one in series:
        samples[one.arm] += one.samples
        works[one.arm].add(one.work)
    listed = []
    for arm, reliable in sorted(of_arms(series).items(), key=lambda item: item[0].key):
        if arm in weighed or not arm.platform:
            continue
        why = str(reliable) if reliable.fails else _too_little(samples[arm])
        standing = Standing.REFUSED if reliable.fails else Standing.LITTLE_DATA
        listed.append(
            ArmEvidence(
                arm.browser, arm.platform, arm.software, samples[arm], len(works[arm]),
                None, None, None, 0.0, None,
                reliable.successes, reliable.failures, reliable.low, standing, why,
            )
        )  # fmt: skip
    return listed


def _too_little(samples: int) -> str:
    if samples < MIN_SAMPLES:
        return f"{samples} samples; {MIN_SAMPLES} are needed"
    return f"{samples} samples, too few of them of work that another arm did, too"


def _from_scores(scores: Sequence[Score], failing: Collection[str]) -> Recommendation | None:
    """The browser with the best mean score over all types, weighted by samples."""
    by_browser: dict[str, list[Score]] = defaultdict(list)
    for one in scores:
        if one.sample_size >= MIN_SAMPLES and one.browser not in failing:
            by_browser[one.browser].append(one)
    if not by_browser:
        return None
    means = {
        browser: float(
            np.average([s.score for s in own], weights=[s.sample_size for s in own])
        )
        for browser, own in by_browser.items()
    }  # fmt: skip
    best = max(sorted(means), key=lambda browser: means[browser])
    own = by_browser[best]
    sure = min(SCORES_CONFIDENCE, *(s.confidence for s in own))
    return Recommendation(best, "", sure, sum(s.sample_size for s in own), Basis.SCORES)


def _from_preferences(
    model_type: str, series: Sequence[Series], available: Collection[str], *, on_battery: bool
) -> Recommendation | None:
    """A documented preference; never a browser without evidence where another has some."""
    known = {one.arm.browser for one in series if one.successes}
    preferred = STARTING_PREFERENCES.get(model_type, ())
    for browser in (ON_BATTERY, *preferred) if on_battery else preferred:
        if browser in available and (not known or browser in known):
            return Recommendation(browser, "", DEFAULT_CONFIDENCE, 0, Basis.DEFAULT)
    return None
