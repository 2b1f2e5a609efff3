"""Scores, recommendations and regressions computed anew from the history, and published.

1. The history file is read by the one who may write it: what is computed rests on everything recorded.
2. The database gets all of it in one transaction, then the file its copy. Computing twice changes nothing.
3. Whoever listens is told of regressions after that.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from history import announcing, pacing, publishing, recording, series, vocabulary
from history.core import regressions
from history.core.configuration import published
from history.core.recommendations import Recommendation, recommend
from history.core.scores import Score, capability_scores
from history.core.series import Series
from history.models import BrowserRecommendation, CapabilityScore, HistoryState, Regression

if TYPE_CHECKING:
    from history.store import HistoryStore
    from history.store.reading import Queries


@dataclasses.dataclass(frozen=True)
class Recomputed:
    """What a recomputation published, and how long it took."""

    samples: int
    scores: int
    recommendations: int
    opened: int
    closed: int
    seconds: float


def recompute(now: datetime | None = None) -> Recomputed:
    """Compute and publish everything that follows from the history.

    Raises:
        HistoryBusy: another process writes the history.
    """
    now = now or timezone.now()
    with recording.open_store() as store:
        if (
            store.count()
        ):  # of nothing follows nothing that needs it, and it takes more than a second
            import scipy.stats  # noqa: F401  before the watch: the next time it is there
        watch = pacing.Stopwatch()
        decided = decide(store, now)
        rows = recommended(decided, now)
        changed = publish(decided, rows, now)
        keep(store, decided, rows, now)
        samples = store.count()
    seconds = watch.seconds()
    HistoryState.objects.filter(pk=HistoryState.objects.current().pk).update(
        recomputed_at=now, recomputed_samples=samples, recompute_s=seconds
    )
    for regression in changed:
        announcing.announce(regression)
    opened = sum(regression.closed_at is None for regression in changed)
    return Recomputed(
        samples,
        len(decided.scores),
        len(decided.recommendations),
        opened,
        len(changed) - opened,
        seconds,
    )


def is_behind() -> bool:
    """Whether anything came in since the last time."""
    state = HistoryState.objects.current()
    return state.samples != state.recomputed_samples


def rests(now: datetime) -> bool:
    """Whether the last time was so long, and is so near, that history would take too much of the machine."""
    state = HistoryState.objects.current()
    if state.recomputed_at is None or state.recompute_s is None:
        return False
    return now < state.recomputed_at + timedelta(seconds=pacing.REST * state.recompute_s)


def is_due(now: datetime | None = None) -> bool:
    """Whether enough came in since the last time, WEBPOOL_HISTORY_RECOMPUTE_SAMPLES, and it has rested."""
    state = HistoryState.objects.current()
    if state.recomputed_at is None:
        return state.samples > 0
    if rests(now or timezone.now()):
        return False
    enough: int = settings.WEBPOOL_HISTORY_RECOMPUTE_SAMPLES
    return state.samples - state.recomputed_samples >= enough


def oldest(now: datetime) -> datetime:
    """What is older is kept, but decides nothing any more; as the history keeps times."""
    past = now - timedelta(days=settings.WEBPOOL_HISTORY_DAYS)
    return past.astimezone(UTC).replace(tzinfo=None)


@dataclasses.dataclass(frozen=True)
class Decided:
    """What follows from a history; nothing of it is published yet. `named`: what a key of `builds` is."""

    scores: Sequence[Score]
    recommendations: Mapping[tuple[str, str], Recommendation]
    builds: Sequence[regressions.BuildSeries]
    named: Mapping[str, Mapping[str, Any]]


def decide(history: Queries, now: datetime) -> Decided:
    """Compute scores, recommendations by (type, name), and latencies by build."""
    known = series.load(history, oldest(now))
    scores = capability_scores(known)
    by_build, named = series.builds(history, oldest(now))
    return Decided(scores, _recommendations(known, scores), by_build, named)


def keep(
    store: HistoryStore, decided: Decided, rows: Sequence[publishing.Row], now: datetime
) -> None:
    """Into the history file, beside what it follows from."""
    with store.transaction():
        at = {"timestamp": _utc(now)}
        store.replace("browser_recommendations", [{**row, **at} for row in rows])
        store.replace("browser_capability_scores", [_score_row(s, now) for s in decided.scores])


def _recommendations(
    known: Sequence[Series], scores: Sequence[Score]
) -> dict[tuple[str, str], Recommendation]:
    """For each type (no name), and for every model that has a say of its own."""
    available = vocabulary.available()
    by_type: dict[str, list[Series]] = defaultdict(list)
    for one in known:
        by_type[one.work.model_type].append(one)
    return {
        (model_type, name): answer
        for model_type in sorted(by_type)
        for name, answer in recommend(model_type, by_type[model_type], scores, available).items()
    }


def recommended(decided: Decided, now: datetime) -> list[publishing.Row]:
    """The recommendations as rows, to be published."""
    return [
        {
            **_recommendation_fields(key, one, now),
            "config": json.dumps(published(one), allow_nan=False),
        }
        for key, one in decided.recommendations.items()
    ]


def row_of(key: tuple[str, str], one: Recommendation, now: datetime) -> BrowserRecommendation:
    """A recommendation for (type, name) as the row that is published; not saved."""
    return BrowserRecommendation(**_recommendation_fields(key, one, now), config=published(one))


def _recommendation_fields(
    key: tuple[str, str], one: Recommendation, now: datetime
) -> dict[str, Any]:
    return {
        "timestamp": now,
        "model_type": key[0],
        "model_name": key[1],
        "recommended_browser": one.browser,
        "recommended_platform": one.platform,
        "confidence": one.confidence,
        "sample_size": one.sample_size,
        "based_on": one.based_on.value,
    }


@transaction.atomic
def publish(decided: Decided, rows: Sequence[publishing.Row], now: datetime) -> list[Regression]:
    """Exchange what is published; returns the regressions that opened or closed."""
    BrowserRecommendation.objects.all().delete()
    publishing.insert(BrowserRecommendation, rows)
    CapabilityScore.objects.all().delete()
    CapabilityScore.objects.bulk_create(
        CapabilityScore(timestamp=now, **_score_fields(one)) for one in decided.scores
    )
    return [*_close(decided.builds, now), *_open(decided.builds, decided.named, now)]


def _open_rows() -> dict[regressions.Known, Regression]:
    return {
        regressions.Known(row.series_key, row.from_build, row.to_build): row
        for row in Regression.objects.filter(closed_at__isnull=True)
    }


def _close(by_build: Sequence[regressions.BuildSeries], now: datetime) -> list[Regression]:
    rows = _open_rows()
    ended = []
    for one in regressions.closed(by_build, list(rows)):
        row = rows[one.known]
        row.closed_at, row.closed_by = now, one.by_build
        row.save(update_fields=["closed_at", "closed_by"])
        ended.append(row)
    return ended


def _open(
    by_build: Sequence[regressions.BuildSeries],
    named: Mapping[str, Mapping[str, Any]],
    now: datetime,
) -> list[Regression]:
    begun = []
    for one in regressions.opened(by_build, list(_open_rows())):
        what = dict(named[one.key])
        fields = {
            name: what.pop(name) for name in ("browser", "model_type", "model_name", "platform")
        }
        begun.append(
            Regression.objects.create(
                **fields,
                series=what,
                series_key=one.key,
                from_build=one.from_build,
                to_build=one.to_build,
                before_ms=one.before_ms,
                after_ms=one.after_ms,
                opened_at=now,
                severity=one.severity.value,
                p_value=one.p_value,
                change_ratio=one.change_ratio,
                sample_size=one.sample_size,
            )
        )
    return begun


def _score_fields(one: Score) -> dict[str, Any]:
    return {**dataclasses.asdict(one), "metrics": dict(one.metrics)}


def _score_row(one: Score, now: datetime) -> dict[str, Any]:
    return {"timestamp": _utc(now), **_score_fields(one)}


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
