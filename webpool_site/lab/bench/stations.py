"""Where the time of a request goes, from station to station, by the moments that the ledger keeps anyway.

Nothing is instrumented for it: the caller's clock is that of the ledger, and each step's row says when it was
queued, claimed and finished, its attempt how long the page computed and what going there and back took.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np

from browsers import clock
from inference.models import Attempt, Outcome
from inference.runs.metrics import milliseconds
from webpool_site.lab.bench.stats import Table


@dataclasses.dataclass(frozen=True)
class Step:
    """One shard's moments; `page_ms` and `compute_ms`: the way to the page and back, and what it computed."""

    queued: datetime
    claimed: datetime
    finished: datetime
    page_ms: float
    compute_ms: float


@dataclasses.dataclass(frozen=True)
class Request:
    """One request's moments, its shards in order."""

    asked: datetime
    answered: datetime
    steps: tuple[Step, ...]


def observe(ask: Callable[[], uuid.UUID], n: int) -> list[Request]:
    """`n` requests one after another; `ask` returns the run's id. Rows are read when all are answered."""
    asked = []
    for _ in range(n):
        began = clock.now()
        run = ask()
        asked.append((began, run, clock.now()))
    return [Request(began, ended, _steps(run)) for began, run, ended in asked]


def _steps(run: uuid.UUID) -> tuple[Step, ...]:
    rows = Attempt.objects.filter(shard__run=run, outcome=Outcome.SUCCEEDED)
    ordered = rows.select_related("shard").order_by("shard__index")
    return tuple(
        Step(
            queued=row.shard.queued_at or row.started_at,
            claimed=row.started_at,
            finished=row.finished_at,
            page_ms=row.transfer_ms or 0.0,
            compute_ms=row.compute_ms or 0.0,
        )
        for row in ordered
    )


def ways(request: Request) -> dict[tuple[str, str, str], float]:
    """From where, to where, what happens in between → ms; together they are the whole request."""
    found: dict[tuple[str, str, str], float] = {}
    from_, since = "asked", request.asked
    for number, step in enumerate(request.steps):
        shard = f"shard {number}" if len(request.steps) > 1 else "the shard"
        if number == 0:
            what = "read, checked, planned, a browser chosen"
            found[from_, f"{shard} placed", what] = _ms(since, step.queued)
            from_, since = f"{shard} placed", step.queued
            what = "inputs stored, run written, message sent, worker awake"
        else:
            what = "result and next choice written, message sent, worker awake"
        found[from_, f"{shard} claimed", what] = _ms(since, step.claimed)
        inside = step.page_ms + step.compute_ms
        own = _ms(step.claimed, step.finished) - inside
        what = "claimed, inputs fetched, outputs checked and stored"
        found[f"{shard} claimed", f"{shard} answered", what] = own
        found["", "", f"of {shard}: to the page and back"] = step.page_ms
        found["", "", f"of {shard}: computed"] = step.compute_ms
        from_, since = f"{shard} answered", step.finished
    what = "result and end written, caller awake, outputs read"
    found[from_, "told", what] = _ms(since, request.answered)
    return found


def table(title: str, requests: Sequence[Request]) -> Table:
    """Medians and 95th percentiles of each way, and of the whole."""
    measured = [ways(request) for request in requests]
    lines = [
        (*way, *_middle_and_tail([one[way] for one in measured if way in one]))
        for way in measured[0]
    ]
    whole = [_ms(request.asked, request.answered) for request in requests]
    return Table(
        title,
        ("from", "to", "what happens", "median ms", "p95 ms"),
        (*lines, ("asked", "told", "all of it", *_middle_and_tail(whole))),
    )


def _middle_and_tail(samples: Sequence[float]) -> tuple[float, float]:
    return float(np.median(samples)), float(np.percentile(samples, 95))


def _ms(start: datetime, end: datetime) -> float:
    return milliseconds(start, end) or 0.0
