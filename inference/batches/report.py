"""How far a job is, and who computed it: read from the rows, for every door."""

from __future__ import annotations

import dataclasses

from django.db.models import Count, Sum

from inference.catalog.data_parallel import unproved
from inference.documents import JsonObject
from inference.graph.batching.batch_axis import Verdict
from inference.models import Attempt
from inference.models.batches import BatchJob, BatchState

_FAILURES_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Progress:
    """Batches and items by state; what waits is the rest."""

    batches: dict[str, int]
    items: dict[str, int]

    @property
    def items_ended(self) -> int:
        return self.items[BatchState.DONE] + self.items[BatchState.FAILED]


@dataclasses.dataclass(frozen=True)
class Together:
    """Whether items go through the model together.

    Attributes:
        verdict: on the rows of the model's batch.
        reason: why they do not, or what that rests on; empty where it is proved.
    """

    verdict: str
    joined: bool
    reason: str


def together(job: BatchJob) -> Together:
    axis = job.model.batch
    joined = joins(job)
    if axis.verdict == Verdict.TRIED:
        what = "items share runs as was asked" if joined else "each item is a run of its own"
        reason = f"{what}: {unproved(job.model)}" if not joined else f"{what}: {axis}"
    elif axis.verdict == Verdict.NO:
        reason = f"each item is a run of its own: {axis.reason}"
    else:
        reason = ""
    return Together(str(axis.verdict), joined, reason)


def joins(job: BatchJob) -> bool:
    """Whether items may share a run: their rows must not influence one another."""
    return job.model.batch.may_split(allow_unproved=bool(job.options.get("allow_unproved_split")))


def progress(job: BatchJob) -> Progress:
    rows = (
        job.batches.order_by()
        .values("state")
        .annotate(batches=Count("pk"), items=Sum("item_count"))
    )
    found: dict[str, JsonObject] = {row["state"]: dict(row) for row in rows}
    return Progress(
        {str(s): found.get(s, {}).get("batches", 0) for s in BatchState.values},
        {str(s): found.get(s, {}).get("items", 0) for s in BatchState.values},
    )


def computed_by(job: BatchJob) -> dict[str, dict[str, int]]:
    """Browser → attempts of the job's shards by outcome, as far as its runs are still kept."""
    rows = (
        Attempt.objects.filter(shard__run__in=job.batches.order_by().values("run"))
        .order_by()
        .values("browser", "outcome")
        .annotate(count=Count("pk"))
    )
    counts: dict[str, dict[str, int]] = {}
    for row in sorted(rows, key=lambda r: (r["browser"], r["outcome"])):
        counts.setdefault(row["browser"], {})[row["outcome"]] = row["count"]
    return counts


def failures(job: BatchJob) -> list[JsonObject]:
    """The first failed batches with their reasons."""
    rows = job.batches.filter(state=BatchState.FAILED)[:_FAILURES_SHOWN]
    return [
        {
            "batch": batch.index,
            "items": batch.items,
            "category": batch.error_category,
            "error": batch.error,
        }
        for batch in rows
    ]
