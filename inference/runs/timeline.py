"""A run's shards on a time line: where each attempt waited, loaded, moved bytes and computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from inference.models import Attempt, Outcome, Run, RunStep
from inference.runs.metrics import attempts_by_shard


@dataclasses.dataclass(frozen=True)
class Bar:
    """A stretch of time; `left` and `width` are percent of the whole run."""

    kind: str
    left: float
    width: float
    ms: float


@dataclasses.dataclass(frozen=True)
class Row:
    """One attempt to compute a shard, or a join, which the control worker did (`attempt` None)."""

    shard: RunStep
    attempt: Attempt | None
    bars: tuple[Bar, ...]
    failed: bool


@dataclasses.dataclass(frozen=True)
class Timeline:
    rows: tuple[Row, ...]
    total_ms: float


def timeline(run: Run) -> Timeline | None:
    """The attempts of a run, placed between its creation and its end; None while there are none.

    Within an attempt only the lengths of load, transfer and compute were measured, not their order:
    they are drawn one after another, each where the one before ends.
    """
    shards = list(run.shards.select_related("plan_step"))
    attempts = attempts_by_shard(shards)
    ends = [attempt.finished_at for rows in attempts.values() for attempt in rows]
    if not ends:
        return None
    end = max([*ends, run.finished_at] if run.finished_at else ends)
    total_ms = max((end - run.created_at) / timedelta(milliseconds=1), 1e-3)
    scale = _Scale(run.created_at, total_ms)
    rows = [row for shard in shards for row in _rows(shard, attempts[shard.pk], scale)]
    return Timeline(tuple(rows), total_ms)


@dataclasses.dataclass(frozen=True)
class _Scale:
    start: datetime
    total_ms: float

    def at(self, moment: datetime) -> float:
        return (moment - self.start) / timedelta(milliseconds=1)

    def bar(self, kind: str, at_ms: float, ms: float) -> Bar:
        left = min(max(at_ms, 0.0), self.total_ms)
        width = min(ms, self.total_ms - left)
        return Bar(kind, 100 * left / self.total_ms, 100 * width / self.total_ms, ms)

    def between(self, kind: str, start: datetime, end: datetime) -> Bar:
        return self.bar(kind, self.at(start), self.at(end) - self.at(start))


def _rows(shard: RunStep, attempts: Sequence[Attempt], scale: _Scale) -> Iterator[Row]:
    for attempt in attempts:
        failed = attempt.outcome not in (Outcome.SUCCEEDED, Outcome.DOUBTED)
        yield Row(shard, attempt, tuple(_bars(attempt, scale)), failed)
    if shard.queued_at and shard.claimed_at and shard.finished_at and not attempts:
        waited = scale.between("queue", shard.queued_at, shard.claimed_at)
        joined = scale.between("join", shard.claimed_at, shard.finished_at)
        yield Row(shard, None, (waited, joined), failed=False)


def _bars(attempt: Attempt, scale: _Scale) -> Iterator[Bar]:
    at = scale.at(attempt.started_at)
    if attempt.queue_ms:
        yield scale.bar("queue", at - attempt.queue_ms, attempt.queue_ms)
    yield scale.between("attempt", attempt.started_at, attempt.finished_at)
    for kind in ("load", "transfer", "compute"):
        ms = getattr(attempt, f"{kind}_ms")
        if ms:
            yield scale.bar(kind, at, ms)
            at += ms
