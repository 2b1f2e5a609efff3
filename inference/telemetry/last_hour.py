"""The last hour in three pictures: how many runs ended, how long they took, what happened to each browser."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone

from browsers import clock
from browsers.core.quantiles import quantiles
from browsers.models import Browser, Incident
from history.charts import minutes
from history.charts.minutes import Column, Mark, Middle, Span
from inference.documents import JsonObject
from inference.models import Run, RunState
from inference.runs.metrics import milliseconds
from webpool_site.telling import units

_WINDOW: Final = timedelta(hours=1)
_AT_MOST: Final = 20_000
_MINUTE_S: Final = 60
_Ended = tuple[str, datetime, datetime]


def pictures(*, most: int = _AT_MOST) -> JsonObject:
    """Template context: `throughput`, `latency` and `health`, each `said` and `drawing`; `minutes`, `at`.

    Args:
        most: rows that are looked at, the latest first; with more the pictures show less than an hour.
    """
    now = clock.now()
    ended = _ended(now - _WINDOW, most)
    span = _span(now, ended, most)
    return {
        "minutes": span.minutes,
        "at": now,
        "throughput": _throughput(ended, span),
        "latency": _latency(ended, span),
        "health": _health(span),
    }


def _ended(since: datetime, most: int) -> list[_Ended]:
    """State, beginning and end of the runs that ended since then, the latest first."""
    rows = Run.objects.filter(finished_at__gt=since).order_by("-finished_at")
    found = rows.values_list("state", "created_at", "finished_at")[:most]
    return [(state, created_at, at) for state, created_at, at in found if at is not None]


def _span(now: datetime, ended: Sequence[_Ended], most: int) -> Span:
    """Whole minutes up to the one that is under way, of which all runs were looked at."""
    last = math.ceil(now.timestamp() / _MINUTE_S) * _MINUTE_S
    first = last - round(_WINDOW.total_seconds())
    if len(ended) == most:
        first = max(first, math.ceil(ended[-1][2].timestamp() / _MINUTE_S) * _MINUTE_S)
    return Span(min(first, last - _MINUTE_S), last)


def _minute(span: Span, at: datetime) -> int | None:
    """Which minute of the span it was in; None: in none."""
    found = int((at.timestamp() - span.first) // _MINUTE_S)
    return found if 0 <= found < span.minutes else None


def _throughput(ended: Sequence[_Ended], span: Span) -> JsonObject:
    counted: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    totals: dict[str, int] = defaultdict(int)
    for state, _, finished_at in ended:
        if (at := _minute(span, finished_at)) is not None:
            counted[at][state] += 1
            totals[state] += 1
    found = [
        Column(counted[at][RunState.SUCCEEDED], counted[at][RunState.FAILED])
        for at in range(span.minutes)
    ]
    parts = [f"{totals[state]} {state}" for state in RunState if totals[state]]
    said = f"{', '.join(parts)}" if parts else "no run ended"
    about = f"runs that ended, by minute: {said}"
    return {"said": said, "drawing": minutes.columns(found, span, name="hour-runs", about=about)}


def _latency(ended: Sequence[_Ended], span: Span) -> JsonObject:
    taken: dict[int, list[float]] = defaultdict(list)
    for state, created_at, finished_at in ended:
        at = _minute(span, finished_at)
        took = milliseconds(created_at, finished_at)
        if state == RunState.SUCCEEDED and at is not None and took is not None:
            taken[at].append(took)
    each = [quantiles(taken[at]) for at in range(span.minutes)]
    whole = quantiles([one for times in taken.values() for one in times])
    said = (
        "nothing was measured"
        if whole.p50_ms is None
        else f"median {units.milliseconds(whole.p50_ms)}, 95th percentile "
        f"{units.milliseconds(whole.p95_ms)}"
    )
    found = [Middle(one.p50_ms, one.p95_ms) for one in each]
    about = f"time of the runs that succeeded, by minute: {said}"
    drawing = minutes.middles(found, span, name="hour-times", about=about)
    return {"said": said, "drawing": drawing}


def _health(span: Span) -> JsonObject:
    since = datetime.fromtimestamp(span.first, timezone.get_current_timezone())
    happened: dict[str, list[Mark]] = {one: [] for one in _browsers()}
    rows = Incident.objects.filter(at__gt=since).order_by("-pk")
    total, mended = rows.count(), rows.filter(repaired=True).count()
    for row in rows.values_list("browser_id", "at", "repaired", "category", "rung")[:_AT_MOST]:
        browser, at, repaired, category, rung = row
        helped = {True: "helped", False: "did not help", None: "outcome unknown"}[repaired]
        repair = f"{rung} {helped}" if rung else "no repair was tried"
        title = f"{browser}: {category}, {at:%H:%M:%S} UTC, {repair}"
        happened.setdefault(browser, []).append(Mark(at.timestamp(), repaired, title))
    said = (
        f"{total} incident{'' if total == 1 else 's'}, {mended} mended" if total else "no incident"
    )
    drawing = minutes.marks(
        sorted(happened.items()), span, name="hour-incidents", about=f"incidents by browser: {said}"
    )
    return {"said": said, "drawing": drawing}


def _browsers() -> list[str]:
    return list(Browser.objects.order_by("pk").values_list("pk", flat=True))
