"""What a run cost and where it ran, as measured; null where nobody measured it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from inference.catalog.data_parallel import splits_batch
from inference.core.lifecycle import STEP
from inference.documents import JsonObject
from inference.models import Attempt, Outcome, Run, RunState, RunStep, StepKind, StepState


def run_metrics(run: Run) -> JsonObject:
    """The execution metrics of a run, finished or not.

    Returns a JSON-ready mapping: `inference_time_ms` (creation to end), `component_count`,
    `successful_components`, `failed_components`, `shard_type`, `data_parallel`, `batch_split` (whether its
    rows, computed apart, are proved or only tried to be independent; None: not split), and under `shards`,
    per shard: where its deciding attempt ran (the one that succeeded, else the last), that attempt's times
    in milliseconds, the number of attempts and the recovery events; of a shard's copies the one whose
    answer counts, and where the others are. Under `joins`: what the control worker put together, and how
    long that took. Under `prediction`, for runs with strategy auto: what was expected, and by how much it
    was wrong.
    """
    steps = list(run.shards.select_related("plan_step"))
    shards = [step for step in steps if step.kind == StepKind.COMPUTE]
    attempts = attempts_by_shard(shards)
    counted = _counted(shards)
    states = [shard.state for shard in counted]
    return {
        "inference_time_ms": milliseconds(run.created_at, run.finished_at),
        "component_count": len(counted),
        "successful_components": states.count(StepState.DONE),
        "failed_components": states.count(StepState.FAILED),
        "shard_type": run.plan.strategy,
        "data_parallel": run.plan.data_parallel,
        "batch_split": batch_split(run),
        "shards": [
            {
                **shard_metrics(shard, attempts[shard.pk]),
                "other_copies": [
                    {"browser": other.browser or None, "state": other.state}
                    for other in shards
                    if other.index == shard.index and other.copy != shard.copy
                ],
            }
            for shard in counted
        ],
        "prediction": prediction_metrics(run),
        "joins": [join_metrics(step) for step in steps if step.kind == StepKind.JOIN],
    }


def batch_split(run: Run) -> str | None:
    """What it rests on that the run's batch was split; None: it was not."""
    if not splits_batch(run.plan.strategy, run.plan.data_parallel):
        return None
    return str(run.model.batch.verdict)


def _counted(shards: Sequence[RunStep]) -> list[RunStep]:
    """One of each shard: the copy that is done, else the one that is nearest to it."""
    nearest = (StepState.FAILED, StepState.CANCELLED, *STEP.open, StepState.DONE)
    best: dict[int, RunStep] = {}
    for shard in shards:
        known = best.get(shard.index)
        if known is None or nearest.index(shard.state) > nearest.index(known.state):
            best[shard.index] = shard
    return [best[index] for index in sorted(best)]


def attempts_by_shard(shards: Sequence[RunStep]) -> dict[int, list[Attempt]]:
    """Every attempt of the shards in order, in one query; a key for each shard."""
    grouped: dict[int, list[Attempt]] = {shard.pk: [] for shard in shards}
    for attempt in Attempt.objects.filter(shard__in=grouped).order_by("number", "pk"):
        grouped[attempt.shard_id].append(attempt)
    return grouped


def deciding(attempts: Sequence[Attempt]) -> Attempt | None:
    """The attempt whose result counts: the one that succeeded, else the last."""
    for attempt in attempts:
        if attempt.outcome == Outcome.SUCCEEDED:
            return attempt
    return attempts[-1] if attempts else None


def shard_metrics(shard: RunStep, attempts: Sequence[Attempt]) -> JsonObject:
    """One shard's part of `run_metrics`."""
    best = deciding(attempts)
    return {
        "index": shard.index,
        "group": shard.plan_step.group,
        "state": shard.state,
        "browser": (best.browser if best else shard.browser) or None,
        "browser_version": (best.browser_version or None) if best else None,
        "backend": (best.backend or None) if best else None,
        "adapter": (best.adapter or None) if best else None,
        "software": best.software if best else None,
        "nodes": best.nodes if best else {},
        "unproved": (best.unproved or None) if best else None,
        "queue_ms": best.queue_ms if best else None,
        "load_ms": best.load_ms if best else None,
        "transfer_ms": best.transfer_ms if best else None,
        "compute_ms": best.compute_ms if best else None,
        "attempts": shard.attempts,
        "recovery_events": [
            {
                "attempt": attempt.number,
                "browser": attempt.browser,
                "category": attempt.error_category,
                "error": attempt.error,
            }
            for attempt in attempts
            if attempt.outcome in (Outcome.FAILED, Outcome.LOST)
        ],
    }


def prediction_metrics(run: Run) -> JsonObject | None:
    """What was predicted, beside what was measured: of the run, and of each step's computation.

    `error` is (measured - predicted) / measured; null until it is known.
    """
    if run.prediction is None:
        return None
    measured = milliseconds(run.created_at, run.finished_at)
    known = measured if run.state == RunState.SUCCEEDED else None
    computed = dict(
        Attempt.objects.filter(shard__run=run, outcome=Outcome.SUCCEEDED).values_list(
            "shard__index", "compute_ms"
        )
    )
    steps = [
        {
            **step,
            "measured_ms": (took := computed.get(step["index"])),
            "error": _error(step["compute_ms"], took),
        }
        for step in run.prediction["steps"]
    ]
    error = _error(run.prediction["predicted_ms"], known)
    return {**run.prediction, "steps": steps, "measured_ms": known, "error": error}


def _error(predicted_ms: float, measured_ms: float | None) -> float | None:
    return (measured_ms - predicted_ms) / measured_ms if measured_ms else None


def join_metrics(join: RunStep) -> JsonObject:
    """One join's part of `run_metrics`."""
    return {
        "index": join.index,
        "state": join.state,
        "queue_ms": milliseconds(join.queued_at, join.claimed_at),
        "join_ms": milliseconds(join.claimed_at, join.finished_at),
    }


def milliseconds(start: datetime | None, end: datetime | None) -> float | None:
    """Time between two moments, or None while one of them is unknown."""
    return None if start is None or end is None else (end - start).total_seconds() * 1000
