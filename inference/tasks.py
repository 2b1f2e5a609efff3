"""Celery tasks: thin doors. `run_shard` runs in a browser's worker, the others in the control worker."""

from __future__ import annotations

from typing import Any, Final

from celery import Task, shared_task
from django.conf import settings

from browsers import clock
from history import pacing, recompute
from inference.batches.retention import forget_old_jobs
from inference.catalog import unused
from inference.comparisons import asking
from inference.comparisons import storage as comparisons
from inference.documents import JsonObject
from inference.ledger import joins
from inference.models import Comparison, ComparisonState
from inference.runs import retention
from inference.scheduling import dispatch
from inference.store import audit, outbox, scratch

_TAKING_OVER: Final = pacing.Pace()


class _Short(Task[[int, int], None]):
    Strategy = "inference.worker.delivery:strategy"


@shared_task(base=_Short, bind=False)
def run_shard(shard_id: int, fence: int) -> None:
    from inference.worker import (
        execution,  # with it a browser's whole machinery: only where there is one
    )

    execution.execute(shard_id, fence)


@shared_task(ignore_result=False)
def load_shard(sha256: str, platform: str) -> JsonObject:
    """Load a file into this worker's browser; `error` is None when it is resident."""
    from inference.worker import execution

    return execution.load(sha256, platform)


@shared_task
def open_stage(session: str, stage: int, epoch: int) -> None:
    """Have this worker's browser take a stage of a session that writes text."""
    from inference.generation import opening  # as above: only where there is a browser

    opening.open_stage(session, stage, epoch)


@shared_task
def follow_stage(session: str, stage: int, epoch: int) -> None:
    """Have this worker's browser compute a stage beside the browser that has it."""
    from inference.generation import opening  # as above

    opening.follow_stage(session, stage, epoch)


@shared_task
def run_join(step_id: int, fence: int) -> None:
    joins.execute(step_id, fence)


@shared_task
def send_step(step_id: int, fence: int) -> None:
    """In the control worker, as the body of a chord: what waited for its members."""
    dispatch.send_step(step_id, fence)


@shared_task
def hand_over_attempts() -> None:
    """Periodic, in the one history worker: attempts become history, and history decides anew when due."""
    if _TAKING_OVER.rests():
        return
    with _TAKING_OVER.working():
        outbox.hand_over()
    if recompute.is_due():
        recompute.recompute()


def complete_history() -> None:
    """At the end of the history worker: what is recorded is taken over and decides."""
    outbox.hand_over()
    if recompute.is_behind():
        recompute.recompute()


@shared_task
def compare_model(model: str, **asked: Any) -> str:
    """For schedules: compare a model, with the words of `/api/comparisons/`; returns the comparison's id.

    The same random inputs each time unless a seed is given. In the history worker, for native onnxruntime
    computes first, which nothing else may wait for. A model whose last one has not ended waits for it.
    """
    open_one = Comparison.objects.filter(
        model__name=model, scheduled=True, state=ComparisonState.RUNNING
    ).first()
    if open_one is None:
        open_one = asking.create(asking.of_schedule({"model": model, **asked}))
    return str(open_one.pk)


@shared_task
def forget_old_runs() -> None:
    """Periodic, in the history worker, once attempts became history: old runs, plans, batch jobs, audit."""
    outbox.hand_over()
    now = clock.now()
    retention.forget_old_runs(now)
    unused.forget_unused_plans(now)
    forget_old_jobs(now)
    comparisons.remove_abandoned()
    scratch.remove_abandoned(settings.WEBPOOL_HOME)
    audit.forget_old_entries(now)


@shared_task(ignore_result=False)
def nothing() -> None:
    """What Celery itself costs: a baseline of `make bench`."""
