"""Hand finished attempts over to history: the attempt row is the outbox."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from history.store import HistoryStore, Observation
from inference.models import Attempt, Outcome

_BATCH = 5000


def history_path() -> Path:
    path: Path = settings.WEBPOOL_HISTORY_PATH
    return path


def hand_over() -> int:
    """Take every attempt that history does not have yet; returns how many. One process only."""
    taken = 0
    with HistoryStore(history_path()) as store:
        while batch := _after(store.high_water_mark()):
            store.record(batch)
            taken += len(batch)
    return taken


def _after(source_id: int) -> list[Observation]:
    rows = (
        Attempt.objects.filter(pk__gt=source_id)
        .select_related("shard__run__model", "shard__run__plan", "shard__plan_shard")
        .order_by("pk")[:_BATCH]
    )
    return [observation(row) for row in rows]


def observation(row: Attempt) -> Observation:
    run = row.shard.run
    return Observation(
        source_id=row.pk,
        timestamp=row.finished_at.replace(tzinfo=None),
        browser=row.browser,
        model_type=run.model.model_type,
        model_name=run.model.name,
        platform=row.backend or None,
        latency_ms=row.compute_ms,
        memory_mb=row.memory_mb,
        batch_size=_batch_size(row),
        success=row.outcome in (Outcome.SUCCEEDED, Outcome.SUPERSEDED),
        error_type=row.error_category or None,
        extra={
            "family": row.family,
            "browser_version": row.browser_version,
            "driver_version": row.driver_version,
            "adapter": row.adapter,
            "software": row.software,
            "nodes": row.nodes,
            "warm": row.warm,
            "queue_ms": row.queue_ms,
            "load_ms": row.load_ms,
            "transfer_ms": row.transfer_ms,
            "outcome": row.outcome,
            "strategy": run.plan.strategy,
            "num_shards": run.plan.num_shards,
            "shard_index": row.shard.index,
            "shard_sha256": row.shard.plan_shard.sha256,
            "run": str(run.pk),
        },
    )


def _batch_size(row: Attempt) -> int | None:
    """Rows of the first input, where the model has a batch axis; else unknown."""
    run = row.shard.run
    if not run.model.batch_axis or not run.inputs:
        return None
    item = next(iter(run.inputs.values()))
    ref = item["parts"][row.shard.index] if "parts" in item else item
    return int(ref["shape"][0]) if ref["shape"] else None
