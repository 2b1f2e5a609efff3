"""A run's shards on a time line: where each attempt waited, loaded, moved bytes and computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime, timedelta

from inference.metrics import attempts_by_shard
from inference.models import Attempt, Outcome, Run, RunShard


@dataclasses.dataclass(frozen=True)
class Bar:
    """A stretch of time; `left` and `width` are percent of the whole run."""

    kind: str
    left: float
    width: float
    ms: float


@dataclasses.dataclass(frozen=True)
class Row:
    """One attempt to compute a shard."""

    shard: RunShard
    attempt: Attempt
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
    shards = list(run.shards.all())
    attempts = attempts_by_shard(shards)
    ends = [attempt.finished_at for rows in attempts.values() for attempt in rows]
    if not ends:
        return None
    end = max([*ends, run.finished_at] if run.finished_at else ends)
    total_ms = max((end - run.created_at) / timedelta(milliseconds=1), 1e-3)
    rows = tuple(
        Row(shard, a, tuple(_bars(a, run.created_at, total_ms)), a.outcome != Outcome.SUCCEEDED)
        for shard in shards
        for a in attempts[shard.pk]
    )
    return Timeline(rows, total_ms)


def _bars(attempt: Attempt, start: datetime, total_ms: float) -> Iterator[Bar]:
    def bar(kind: str, at_ms: float, ms: float) -> Bar:
        left = min(max(at_ms, 0.0), total_ms)
        width = min(ms, total_ms - left)
        return Bar(kind, 100 * left / total_ms, 100 * width / total_ms, ms)

    at = (attempt.started_at - start) / timedelta(milliseconds=1)
    if attempt.queue_ms:
        yield bar("queue", at - attempt.queue_ms, attempt.queue_ms)
    yield bar("attempt", at, (attempt.finished_at - attempt.started_at) / timedelta(milliseconds=1))
    for kind in ("load", "transfer", "compute"):
        ms = getattr(attempt, f"{kind}_ms")
        if ms:
            yield bar(kind, at, ms)
            at += ms
