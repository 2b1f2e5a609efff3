"""Triton's statistics of a model, from the ledger: runs and attempts that are kept, as they were measured.

What is not measured apart is left out: a transfer is the way to the page and back, so that there is
`transfer` instead of `compute_input` and `compute_output`; nothing is cached.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, DurationField, ExpressionWrapper, F, Max, Sum

from inference.documents import JsonObject, JsonView
from inference.models import Attempt, OnnxModel, Outcome, Run, RunState

_NS_PER_MS: Final = 1_000_000
_TIMES: Final = {"queue": "queue_ms", "compute_infer": "compute_ms", "transfer": "transfer_ms"}
_TOOK: Final = ExpressionWrapper(F("finished_at") - F("created_at"), output_field=DurationField())


def statistics(models: Iterable[OnnxModel], version: str) -> JsonObject:
    """`model_stats` of these models, in their order.

    A run counts once, whatever its batch: `success` and `fail` are runs from request to end, `queue`,
    `compute_infer` and `transfer` attempts of shards that succeeded. `last_inference` is in ms since 1970.
    """
    models = list(models)
    runs: dict[tuple[int, str], JsonView] = {
        (row["model"], row["state"]): row
        for row in Run.objects.order_by()
        .filter(model__in=models, finished_at__isnull=False)
        .values("model", "state")
        .annotate(n=Count("pk"), took=Sum(_TOOK), last=Max("finished_at"))
    }
    attempts: dict[int, JsonView] = {
        row["shard__run__model"]: row
        for row in Attempt.objects.order_by()
        .filter(shard__run__model__in=models, outcome=Outcome.SUCCEEDED)
        .values("shard__run__model")
        .annotate(
            n=Count("pk"),
            **{f"{name}_n": Count(column) for name, column in _TIMES.items()},
            **{f"{name}_ms": Sum(column) for name, column in _TIMES.items()},
        )
    }
    return {
        "model_stats": [
            _of(
                model,
                version,
                runs.get((model.pk, RunState.SUCCEEDED), {}),
                runs.get((model.pk, RunState.FAILED), {}),
                attempts.get(model.pk, {}),
            )
            for model in models
        ]
    }


def _of(
    model: OnnxModel, version: str, succeeded: JsonView, failed: JsonView, attempts: JsonView
) -> JsonObject:
    measured = {
        name: {"count": attempts.get(f"{name}_n", 0), "ns": _ns(attempts.get(f"{name}_ms"))}
        for name in _TIMES
    }
    return {
        "name": model.name,
        "version": version,
        "last_inference": _epoch_ms(succeeded.get("last")),
        "inference_count": succeeded.get("n", 0),
        "execution_count": attempts.get("n", 0),
        "inference_stats": {"success": _runs(succeeded), "fail": _runs(failed), **measured},
        "batch_stats": [],
    }


def _runs(row: JsonView) -> JsonObject:
    took: timedelta = row.get("took") or timedelta()
    return {"count": row.get("n", 0), "ns": took // timedelta(microseconds=1) * 1000}


def _ns(milliseconds: float | None) -> int:
    return round((milliseconds or 0.0) * _NS_PER_MS)


def _epoch_ms(at: datetime | None) -> int:
    return int(at.timestamp() * 1000) if at else 0
