"""Which browser for a model: the best evidence there is, and how sure it makes us.

Evidence in order: measurements of this very model, of models of its type, capability scores of other types,
a documented starting preference. Confidence is the probability that the choice is within 5 % of the best arm
(evidence.py). Scores of other types carry at most `SCORES_CONFIDENCE`, a starting preference
`DEFAULT_CONFIDENCE`, which is no measurement.
"""

from __future__ import annotations

import dataclasses
import enum
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np
import scipy

from history.core.batching import BatchTimes, batch_times
from history.core.evidence import Evidence, usable, weigh, within_best
from history.core.preferences import DEFAULT_CONFIDENCE, ON_BATTERY, STARTING_PREFERENCES
from history.core.reliability import of_arms, of_browser
from history.core.scores import Score
from history.core.series import MIN_SAMPLES, Arm, Series

EQUIVALENT: Final = 0.05
SIGNIFICANT: Final = 0.05
SCORES_CONFIDENCE: Final = 0.5


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


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """The choice and its evidence, best arm first.

    Attributes:
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
    model_name: str,
    series: Sequence[Series],
    scores: Sequence[Score],
    available: Collection[str],
    *,
    on_battery: bool = False,
    seed: int = 0,
) -> Recommendation | None:
    """The browser for a model, or None when nothing is known and no preferred browser is there.

    Args:
        model_name: empty for any model of the type.
        series: of all models of this type, whatever the arm; `seed` makes the draws repeatable.
        scores: of all types.
        available: kinds of browser that exist here; only a starting preference needs it.
    """
    if model_name:
        own = [one for one in series if one.work.model_name == model_name]
        found = from_measurements(own, Basis.MODEL, seed=seed)
        if found is not None:
            return found
    found = from_measurements(series, Basis.MODEL_TYPE, seed=seed)
    if found is not None:
        return found
    failing = _failing_browsers(series)
    return _from_scores(scores, failing) or _from_preferences(
        model_type, series, [b for b in available if b not in failing], on_battery=on_battery
    )


def from_measurements(
    series: Sequence[Series], basis: Basis, *, seed: int = 0
) -> Recommendation | None:
    """The arm most likely within 5 % of the best of those that do not fail; None without five samples."""
    weighed = weigh(series, np.random.default_rng(seed))
    sound = [one for one in weighed if not one.reliability.fails]
    if not sound:
        return None
    close = within_best(sound, EQUIVALENT)
    order = sorted(sound, key=lambda e: (-close[e.arm], float(np.median(e.log_ratio)), e.arm.key))
    best = order[0]
    p_values = slower_than(best.arm, [one.arm for one in order[1:]], series)
    listed = [
        _shown(one, close[one.arm], p_values.get(one.arm), _standing(one, best, p_values))
        for one in order
    ]
    return Recommendation(
        browser=best.arm.browser,
        platform=best.arm.platform,
        confidence=close[best.arm],
        sample_size=best.samples,
        based_on=basis,
        evidence=(*listed, *_refused(series, {one.arm for one in sound})),
        equivalent=tuple(
            str(one.arm)
            for one, shown in zip(order, listed, strict=True)
            if shown.standing == Standing.EQUIVALENT
        ),
        batches=batch_times(series, best.arm) if basis == Basis.MODEL else (),
    )


def slower_than(best: Arm, others: Sequence[Arm], series: Sequence[Series]) -> dict[Arm, float]:
    """Corrected p-values that each of `others` is slower than `best` on the same work."""
    raw: dict[Arm, float] = {}
    tests: dict[Arm, list[tuple[float, int]]] = defaultdict(list)
    for together in usable(series).values():
        of = {one.arm: one.latencies_ms for one in together}
        for arm in others:
            if arm in of and best in of:
                test = scipy.stats.mannwhitneyu(of[arm], of[best], alternative="greater")
                tests[arm].append((float(test.pvalue), of[arm].size + of[best].size))
    for arm, found in tests.items():
        if len(found) == 1:
            raw[arm] = found[0][0]
            continue
        inside = np.clip([p for p, _ in found], 1e-300, 1 - 1e-16)
        weights = np.sqrt([size for _, size in found])
        raw[arm] = float(
            scipy.stats.combine_pvalues(inside, method="stouffer", weights=weights).pvalue
        )  # fmt: skip
    if not raw:
        return {}
    return dict(
        zip(raw, map(float, scipy.stats.false_discovery_control(list(raw.values()))), strict=True)
    )


def _standing(one: Evidence, best: Evidence, p_values: Mapping[Arm, float]) -> Standing:
    if one is best:
        return Standing.RECOMMENDED
    low, high = np.quantile(one.log_ratio - best.log_ratio, [0.025, 0.975])
    if max(-low, high) <= np.log1p(EQUIVALENT):
        return Standing.EQUIVALENT
    surely = low > np.log1p(EQUIVALENT)
    return Standing.WORSE if surely or p_values.get(one.arm, 1.0) < SIGNIFICANT else (
        Standing.UNDECIDED
    )  # fmt: skip


def _shown(one: Evidence, within: float, p_value: float | None, standing: Standing) -> ArmEvidence:
    low, middle, high = np.exp(np.quantile(one.log_ratio, [0.025, 0.5, 0.975]))
    return ArmEvidence(
        browser=one.arm.browser,
        platform=one.arm.platform,
        software=one.arm.software,
        samples=one.samples,
        works=one.works,
        ratio=float(middle),
        ratio_low=float(low),
        ratio_high=float(high),
        within_best=within,
        p_value=p_value,
        successes=one.reliability.successes,
        failures=one.reliability.failures,
        success_low=one.reliability.low,
        standing=standing,
    )


def _refused(series: Sequence[Series], sound: Collection[Arm]) -> list[ArmEvidence]:
    """Arms that fail, and those with too few samples to say anything."""
    listed = []
    for arm, reliable in sorted(of_arms(series).items(), key=lambda item: item[0].key):
        if arm in sound or not arm.platform:
            continue
        own = [one for one in series if one.arm == arm]
        samples = sum(one.samples for one in own)
        why = str(reliable) if reliable.fails else f"{samples} samples; {MIN_SAMPLES} are needed"
        standing = Standing.REFUSED if reliable.fails else Standing.UNDECIDED
        listed.append(
            ArmEvidence(
                arm.browser, arm.platform, arm.software, samples, len({s.work for s in own}),
                None, None, None, 0.0, None,
                reliable.successes, reliable.failures, reliable.low, standing, why,
            )
        )  # fmt: skip
    return listed


def _failing_browsers(series: Sequence[Series]) -> set[str]:
    browsers = {one.arm.browser for one in series}
    return {browser for browser in browsers if of_browser(series, browser).fails}


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
