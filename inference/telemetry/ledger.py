"""What the ledger tells of runs and attempts: how many, how they ended, how long they took lately."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count

from browsers.core.quantiles import quantiles
from inference.core.lifecycle import STEP
from inference.documents import JsonObject
from inference.models import Attempt, OnnxModel, Outcome, Run, RunState, RunStep
from inference.runs.metrics import milliseconds

WINDOW = timedelta(minutes=5)
_AT_MOST = 2_000
"""Durations of the last minutes that quantiles are of, the latest: a scrape of a busy pool costs no more."""


def counts() -> JsonObject:
    """Models registered, runs kept by state, open shards by state, attempts kept by outcome and place."""
    open_shards = RunStep.objects.filter(run__state=RunState.RUNNING, state__in=STEP.open)
    attempts = Attempt.objects.order_by().values_list("outcome", "browser", "backend")
    return {
        "models_registered": OnnxModel.objects.count(),
        "runs": _by_state(Run.objects.order_by().values_list("state")),
        "open_shards": _by_state(open_shards.order_by().values_list("state")),
        "attempts": [
            {"outcome": outcome, "browser": browser, "backend": backend or None, "count": count}
            for outcome, browser, backend, count in attempts.annotate(Count("pk"))
        ],
    }


def _by_state(rows: Any) -> dict[str, int]:
    return dict(rows.annotate(Count("pk")))


def latency(now: datetime) -> JsonObject:
    """Runs that ended within the window, and the computing of shards per browser and backend."""
    since = now - WINDOW
    ended = Run.objects.filter(finished_at__gt=since).order_by()
    succeeded = ended.filter(state=RunState.SUCCEEDED).order_by("-finished_at")
    times = succeeded.values_list("created_at", "finished_at")[:_AT_MOST]
    return {
        "window_s": WINDOW.total_seconds(),
        "ended": dict(sorted(_by_state(ended.values_list("state")).items())),
        "succeeded_ms": dataclasses.asdict(
            quantiles([milliseconds(*each) or 0.0 for each in times])
        ),
        "computing": list(_computing(since)),
    }


def _computing(since: datetime) -> Iterator[JsonObject]:
    latest = Attempt.objects.order_by("-pk").filter(outcome=Outcome.SUCCEEDED)
    rows = latest.values_list("browser", "backend", "compute_ms", "finished_at")[:_AT_MOST]
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for browser, backend, compute_ms, finished_at in rows:
        if finished_at > since and compute_ms is not None:
            times[browser, backend].append(compute_ms)
    for (browser, backend), durations in sorted(times.items()):
        facts = dataclasses.asdict(quantiles(durations))
        yield {"browser": browser, "backend": backend, "compute_ms": facts}
