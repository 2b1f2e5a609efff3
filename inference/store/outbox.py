"""Hand finished attempts over to history: the attempt row is the outbox.

Attempts are taken in order of their numbers, and what is taken is noted as the last number. With several
writers one may be committed after another with a higher number: so they are taken only when no transaction
is left that may bring a lower one. Which those are is known: an attempt gets its number under its run's lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np
from django.db.models import Max, QuerySet

from browsers.core.failures import Category
from browsers.models import Browser
from history import recording
from history.core.samples import Blame, Observation
from history.core.shapes import shape_bucket
from inference.documents import Array
from inference.models import Attempt, OnnxModel, Outcome, PlanStep, RunStep, StepState
from inference.store import transactions
from inference.store.inputs import batch_of

log = logging.getLogger(__name__)
_BATCH: Final = 5000
_PATIENCE_S = 5.0


def hand_over() -> int:
    """Take every attempt that history does not have yet; returns how many. One process at a time."""
    return recording.take_over(_reader(after))


def taken() -> int:
    """Up to which number every attempt is history."""
    return recording.attempts_taken()


def after(mark: int) -> QuerySet[Attempt]:
    """The attempts with higher numbers, as far as none with a lower number than one of them is to come."""
    newest = Attempt.objects.aggregate(newest=Max("pk"))["newest"] or 0
    if newest <= mark:
        return Attempt.objects.none()
    if not transactions.others_have_ended(_PATIENCE_S):
        log.warning("a transaction goes on for long: attempts become history when it has ended")
        return Attempt.objects.none()
    return Attempt.objects.filter(pk__gt=mark, pk__lte=newest)


def keep_attempts_of(model: OnnxModel) -> int:
    """Before a model is deleted with its attempts: leave to history what it may not have yet."""
    of_model = Attempt.objects.filter(shard__run__model=model)
    return recording.keep_attempts(_reader(lambda mark: of_model.filter(pk__gt=mark)))


def _reader(attempts_after: Callable[[int], QuerySet[Attempt]]) -> recording.Read:
    machines = {row.pk: (row.kind, row.host or None) for row in Browser.objects.all()}

    def read(source: str, mark: int) -> Sequence[Observation]:
        rows = _with_plans(attempts_after(mark).order_by("pk")[:_BATCH])
        others = _meanwhile(rows)
        return [
            observation(
                row, source, machines.get(row.browser, (row.browser, None)), concurrent=count
            )
            for row, count in zip(rows, others, strict=True)
        ]

    return read


def _with_plans(attempts: QuerySet[Attempt]) -> list[Attempt]:
    """The attempts with what an observation says of their runs.

    Many are of few plans: those are read once, and of the runs only what is needed, for most of what reading
    an attempt costs is taking JSON apart.
    """
    found = list(attempts.select_related("shard__run").only(*_NEEDED))
    used = {row.shard.plan_step_id for row in found}
    related = PlanStep.objects.select_related("plan__model").defer("plan__model__summary")
    steps = {step.pk: step for step in related.filter(pk__in=used)}
    # What was deleted meanwhile was left to history before (`keep_attempts_of`).
    rows = [row for row in found if row.shard.plan_step_id in steps]
    for row in rows:
        row.shard.plan_step = step = steps[row.shard.plan_step_id]
        row.shard.run.plan, row.shard.run.model = step.plan, step.plan.model
    return rows


_OF_RUN = ("inputs", "strict", "platform", "pins", "plan", "model")
_NEEDED = (
    *(field.name for field in Attempt._meta.concrete_fields if field.name != "unproved"),
    *("shard__index", "shard__state", "shard__plan_step", "shard__run"),
    *(f"shard__run__{name}" for name in _OF_RUN),
)


def observation(
    row: Attempt, source: str, machine: tuple[str, str | None], *, concurrent: int
) -> Observation:
    """`machine`: the kind of the attempt's browser and its host."""
    run, (kind, host) = row.shard.run, machine
    succeeded = row.outcome in (Outcome.SUCCEEDED, Outcome.SUPERSEDED, Outcome.DOUBTED)
    return Observation(
        source=source,
        source_id=row.pk,
        timestamp=row.finished_at.astimezone(UTC).replace(tzinfo=None),
        browser=kind,
        model_type=row.shard.plan_step.work_type or run.model.model_type,
        model_name=run.model.name,
        platform=row.backend or None,
        latency_ms=row.compute_ms,
        throughput_tokens_per_sec=_per_second(row.tokens, row.compute_ms),
        memory_mb=row.memory_mb,
        batch_size=_batch_size(row),
        success=succeeded,
        error_type=row.error_category or None,
        blame=None if succeeded else _blame(row),
        browser_id=row.browser,
        family=row.family or None,
        host=host,
        browser_version=row.browser_version or None,
        driver_version=row.driver_version or None,
        adapter=row.adapter or None,
        software=row.software,
        work=row.shard.plan_step.sha256,
        shape=shape_bucket(row.shapes) if row.shapes else None,
        warm=row.warm,
        concurrent=concurrent,
        bytes_in=row.bytes_in,
        bytes_out=row.bytes_out,
        queue_ms=row.queue_ms,
        load_ms=row.load_ms,
        transfer_ms=row.transfer_ms,
        extra={
            "nodes": row.nodes,
            "outcome": row.outcome,
            "attempt": row.number,
            "tokens": row.tokens,
            "strategy": run.plan.strategy,
            "num_shards": run.plan.num_shards,
            "data_parallel": run.plan.data_parallel,
            "shard_index": row.shard.index,
            "file_bytes": row.shard.plan_step.file_bytes,
            "platform_asked": run.platform or None,
            "error": row.error[:500] or None,
            "run": str(run.pk),
        },
    )


def _blame(row: Attempt) -> Blame | None:
    """What a failure counts against; None: its category says it.

    A backend that the caller named, or `strict`, may be more than a model or a browser can do there, where
    another backend would have served. What a browser refused was its fault where it was computed after all.
    """
    if row.error_category == Category.REFUSED and row.shard.state == StepState.DONE:
        return Blame.MODEL
    unfit = row.error_category in (Category.UNSUPPORTED_OPERATION, Category.BROWSER_CAPABILITY)
    run = row.shard.run
    pinned_platform = run.pins.get(str(row.shard.index), "").partition("/")[2]
    if unfit and (run.strict or run.platform or pinned_platform):
        return Blame.NOBODY
    return None


def _per_second(tokens: int | None, compute_ms: float | None) -> float | None:
    return tokens / (compute_ms / 1000) if tokens is not None and compute_ms else None


def _batch_size(row: Attempt) -> int | None:
    """Rows of the batch, where the model has a batch axis; else unknown."""
    ref = batch_of(row.shard.run, row.shard.plan_step.batch_part)
    return ref.shape[0] if ref and ref.shape else None


def _meanwhile(rows: Sequence[Attempt]) -> Sequence[int]:
    """For each attempt, how many others the pool computed at some moment of it."""
    if not rows:
        return []
    first = min(row.started_at for row in rows)
    known: dict[int, tuple[datetime, datetime]] = {
        pk: (start, end)
        for pk, start, end in Attempt.objects.filter(
            pk__gt=rows[0].pk - _BATCH, pk__lte=rows[-1].pk, finished_at__gt=first
        ).values_list("pk", "started_at", "finished_at")
    }
    running = RunStep.objects.outstanding(StepState.RUNNING).filter(claimed_at__isnull=False)
    open_since = [claimed for (claimed,) in running.values_list("claimed_at") if claimed]
    known.update((row.pk, (row.started_at, row.finished_at)) for row in rows)
    starts = _sorted([start for start, _ in known.values()] + open_since)
    ends = _sorted([end for _, end in known.values()])
    begun = np.searchsorted(starts, [row.finished_at.timestamp() for row in rows], side="left")
    ended = np.searchsorted(ends, [row.started_at.timestamp() for row in rows], side="right")
    return [max(0, int(count) - 1) for count in begun - ended]


def _sorted(moments: Sequence[datetime]) -> Array:
    return np.sort(np.array([moment.timestamp() for moment in moments]))
