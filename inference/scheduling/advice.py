"""History decides where nobody asked for a browser: which one, on which backend, what is tried.

What history published is read every few seconds and remembered by the process: a run costs no query. It
changes placement in three ways: browsers that fail come last, one without a time of its own for a file is
judged by history's ratio, and a browser uses the backend that was fastest there. A small share of the whole
runs explores (core/exploration.py). A caller's wish for a browser, a backend or a pin leaves all that out.
"""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from django.conf import settings

from history.core.preferences import STARTING_PREFERENCES
from history.models import BrowserRecommendation, CapabilityScore
from inference.core import exploration
from inference.core.exploration import Arm, Belief, Taken
from inference.core.placement import BrowserView, Hints, ShardView, Wishes, peak_mb
from inference.documents import JsonObject, JsonView
from inference.models import OnnxModel, Run

_REFRESH_S: Final = 10.0


@dataclasses.dataclass(frozen=True)
class ModelHistory:
    """What history published of a model, or of its type.

    Attributes:
        beliefs: of each arm with at least five samples that does not fail.
        failing: kinds of browser all of whose arms fail.
        platforms: the best backend of each kind that was measured on more than one.
    """

    recommendation: JsonView
    beliefs: Mapping[Arm, Belief]
    failing: frozenset[str]
    platforms: Mapping[str, str]
    hints: Hints


class _Published:
    """Recommendations as last read; `chances` of exploration by what they were computed from."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at = -_REFRESH_S
        self._by_key: dict[tuple[str, str], ModelHistory] = {}
        self._scores: dict[str, dict[str, float]] = {}
        self._chances: dict[object, dict[Arm, float]] = {}

    def of(self, model_type: str, model_name: str) -> ModelHistory | None:
        if time.monotonic() - self._read_at >= _REFRESH_S:
            self._read()
        exact = self._by_key.get((model_type, model_name))
        return exact or self._by_key.get((model_type, ""))

    def hints(self, work_type: str, model_name: str) -> Hints:
        """By measurements of the model, else of its type, else by capability scores, else documented."""
        known = self.of(work_type, model_name)
        if known is not None:
            return known.hints
        scores = self._scores.get(work_type)
        if scores:
            best = max(scores.values())
            return Hints(ratios={kind: best / score for kind, score in scores.items() if score})
        return Hints(starting=STARTING_PREFERENCES.get(work_type, ()))

    def _read(self) -> None:
        rows = BrowserRecommendation.objects.values(
            "model_type", "model_name", "recommended_browser", "recommended_platform",
            "confidence", "sample_size", "based_on", "config", "timestamp",
        )  # fmt: skip
        by_key = {(row["model_type"], row["model_name"]): _parsed(row) for row in rows}
        scores: dict[str, dict[str, float]] = defaultdict(dict)
        for kind, model_type, score in CapabilityScore.objects.values_list(
            "browser", "model_type", "score"
        ):
            scores[model_type][kind] = score
        with self._lock:
            self._by_key, self._scores, self._chances = by_key, dict(scores), {}
            self._read_at = time.monotonic()

    def clear(self) -> None:
        self._read_at = -_REFRESH_S

    def chances(self, known: ModelHistory, arms: Mapping[Arm, float | None]) -> dict[Arm, float]:
        """The probability of each feasible arm to be the best; `arms` has their probes' times."""
        key = (id(known), tuple(sorted(arms.items(), key=lambda item: item[0])))
        found = self._chances.get(key)
        if found is None:
            fastest = min((ms for ms in arms.values() if ms), default=None)
            beliefs = {arm: exploration.from_probe(ms, fastest) for arm, ms in arms.items()}
            beliefs |= {arm: known.beliefs[arm] for arm in arms.keys() & known.beliefs.keys()}
            found = exploration.probabilities(beliefs, np.random.default_rng())
            with self._lock:
                self._chances[key] = found
        return found


_PUBLISHED = _Published()


def clear_cache() -> None:
    """Read what is published again before the next decision."""
    _PUBLISHED.clear()


def recommend_for(model_type: str, model_name: str) -> JsonObject | None:
    """What history recommends for a model, with its evidence and its time; None: it recommends nothing."""
    known = _PUBLISHED.of(model_type, model_name)
    if known is None or not known.recommendation["recommended_browser"]:
        return None
    return dict(known.recommendation)


def batch_for(model: OnnxModel) -> int | None:
    """How many rows at once history measured to be the cheapest for each; None: it does not know."""
    known = _PUBLISHED.of(model.model_type, model.name)
    if known is None or known.recommendation["model_name"] != model.name:
        return None
    batch = known.recommendation["config"].get("applied", {}).get("batch", {}).get("value")
    return int(batch) if batch else None


def advise(wishes: Wishes, model: OnnxModel, taken: Taken | None, work_type: str = "") -> Wishes:
    """The wishes with what history knows; as they are when the caller asked for something.

    `work_type`: what the step does, where that is not the model's own type.
    """
    if asked(wishes):
        return wishes
    hints = _PUBLISHED.hints(work_type or model.model_type, model.name)
    if taken is not None and taken.explores:
        hints = dataclasses.replace(hints, prefer=taken.arm.kind)
    return dataclasses.replace(wishes, hints=hints)


def decides(wishes: Wishes, model: OnnxModel) -> bool:
    """Whether history has a say: nobody asked for a browser, and something is known of the model."""
    return not asked(wishes) and _PUBLISHED.of(model.model_type, model.name) is not None


def asked(wishes: Wishes) -> bool:
    """Whether the caller named a browser or a backend."""
    return bool(wishes.browsers or wishes.platform or wishes.pins)


def select(
    model: OnnxModel,
    shard: ShardView,
    pool: Sequence[BrowserView],
    wishes: Wishes,
    usual: BrowserView | None,
) -> Taken | None:
    """What is decided for a whole run, to be kept with it; None: the caller decided, or nothing is known.

    Args:
        usual: the browser that placement takes without exploring.
    """
    if asked(wishes) or usual is None or not usual.backends:
        return None
    known = _PUBLISHED.of(model.model_type, model.name)
    if known is None:
        return None  # nothing to deviate from: placement measures as it goes
    platforms = dict(known.platforms)
    share = 0.0 if wishes.critical else settings.WEBPOOL_EXPLORE_SHARE
    arms = feasible(shard, pool, known.failing)
    chances = _PUBLISHED.chances(known, arms) if share and len(arms) > 1 else {}
    share = share if chances else 0.0
    names = [backend.name for backend in usual.backends]
    best = platforms.get(usual.kind, names[0])
    here = Arm(usual.kind, best if best in names else names[0])
    arm = exploration.draw(chances, random.random()) if random.random() < share else here
    explores = arm != here
    return Taken(
        explores=explores,
        arm=arm,
        platforms={arm.kind: arm.platform} if explores else platforms,
        propensity=exploration.propensity(arm, here, chances, share),
        share=share,
    )


def taken_of(run: Run) -> Taken | None:
    """What was decided for it, as its row keeps it."""
    return Taken.from_json(run.selection) if run.selection else None


def feasible(
    shard: ShardView, pool: Iterable[BrowserView], failing: frozenset[str]
) -> dict[Arm, float | None]:
    """Ways that may be explored, with the time of their probe.

    Not those of a browser that is not ready, fails, has an open breaker, is short of memory, or would have
    to unload something to make room.
    """
    arms: dict[Arm, float | None] = {}
    for browser in pool:
        if browser.state != "ready" or browser.short_of_memory or browser.kind in failing:
            continue
        if browser.breaker != "closed" or shard.sha256 in browser.blocked:
            continue
        if not _has_room(shard, browser):
            continue
        for backend in browser.backends:
            arm = Arm(browser.kind, backend.name)
            times = [ms for ms in (arms.get(arm), backend.probe_ms) if ms is not None]
            arms[arm] = min(times, default=None)
    return arms


def _has_room(shard: ShardView, browser: BrowserView) -> bool:
    if shard.sha256 in browser.loaded or browser.memory_limit_mb is None:
        return True
    needed = peak_mb(shard, browser, "") + browser.resident_bytes / 2**20
    return needed <= browser.memory_limit_mb


def platform_for(run: Run, kind: str, offered: Collection[str], *, attempt: int) -> str:
    """The backend that history or exploration chose for this kind of browser; empty: its own choice.

    Only at the first attempt, and only one that the browser has: whatever comes after a failure is its
    own choice again.
    """
    taken = None if attempt > 1 else taken_of(run)
    if taken is None:
        return ""
    chosen = taken.platforms.get(kind, "")
    return chosen if chosen in offered else ""


def _parsed(row: JsonView) -> ModelHistory:
    evidence = row["config"].get("evidence", [])
    beliefs: dict[Arm, Belief] = {}
    refused: set[str] = set()
    for measured in evidence:
        if measured["standing"] == "refused":
            refused.add(measured["browser"])
        elif measured["ratio"] is not None:
            arm = Arm(measured["browser"], measured["platform"])
            belief = exploration.from_interval(
                measured["ratio"], measured["ratio_low"], measured["ratio_high"]
            )
            if arm not in beliefs or belief.mean < beliefs[arm].mean:
                beliefs[arm] = belief
    best: dict[str, Arm] = {}
    for arm in sorted(beliefs, key=lambda arm: (beliefs[arm].mean, arm)):
        best.setdefault(arm.kind, arm)
    several = {arm.kind for arm in beliefs if best[arm.kind] != arm}
    failing = frozenset(refused - best.keys())
    ratios = {kind: float(np.exp(beliefs[arm].mean)) for kind, arm in best.items()}
    return ModelHistory(
        recommendation=row,
        beliefs=beliefs,
        failing=failing,
        platforms={kind: best[kind].platform for kind in sorted(several)},
        hints=Hints(ratios=ratios, failing=failing),
    )
