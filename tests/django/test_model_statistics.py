"""Triton's statistics, from rows of the ledger whose times are known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from inference.catalog.registry import check_words
from inference.errors import InvalidRequest
from inference.models import Attempt, OnnxModel, Outcome, Run, RunState
from inference.telemetry.model_statistics import statistics
from tests.support.ledger import make_run, publish

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def rows(database: None, valkey: Any) -> Iterator[OnnxModel]:
    """A run of 2 s that took three attempts, one that failed after 0.5 s, one under way; another model."""
    publish("a")
    model = _ended(RunState.SUCCEEDED, 2.0)
    _ended(RunState.FAILED, 0.5, model)
    _ended(RunState.RUNNING, None, model)
    _ended(RunState.SUCCEEDED, 9.0)
    yield model
    for kind in (Run, OnnxModel):
        kind.objects.all().delete()


def _ended(state: RunState, seconds: float | None, model: OnnxModel | None = None) -> OnnxModel:
    run = make_run()
    run.model = model or run.model
    run.state, run.created_at = state, BEGAN
    run.finished_at = BEGAN + timedelta(seconds=seconds) if seconds else None
    run.save()
    first, second = run.shards.all()
    attempts = ((first, Outcome.FAILED), (first, Outcome.SUCCEEDED), (second, Outcome.SUCCEEDED))
    for shard, outcome in attempts if state == RunState.SUCCEEDED else ():
        Attempt.objects.create(
            shard=shard, number=1, outcome=outcome, browser="a", queue_ms=1.5, compute_ms=20.25,
            transfer_ms=None if shard == first else 3.0, started_at=BEGAN, finished_at=BEGAN,
        )  # fmt: skip
    return run.model


def test_runs_and_attempts_are_added_up(rows: OnnxModel) -> None:
    (told,) = statistics([rows], "1")["model_stats"]
    assert told == {
        "name": rows.name,
        "version": "1",
        "last_inference": int((BEGAN + timedelta(seconds=2)).timestamp() * 1000),
        "inference_count": 1,
        "execution_count": 2,
        "inference_stats": {
            "success": {"count": 1, "ns": 2_000_000_000},
            "fail": {"count": 1, "ns": 500_000_000},
            "queue": {"count": 2, "ns": 3_000_000},
            "compute_infer": {"count": 2, "ns": 40_500_000},
            "transfer": {"count": 1, "ns": 3_000_000},
        },
        "batch_stats": [],
    }


def test_a_model_that_never_ran(database: None) -> None:
    model = OnnxModel.objects.create(
        name="idle", sha256="ab" * 32, file_bytes=1, weight_bytes=1, node_count=1, max_shards=1,
        inputs=[], outputs=[], summary={}, batch_axis={},
    )  # fmt: skip
    (told,) = statistics([model], "1")["model_stats"]
    model.delete()
    assert (told["last_inference"], told["inference_count"]) == (0, 0)
    assert {one["count"] for one in told["inference_stats"].values()} == {0}


def test_no_model_is_named_as_their_address_is() -> None:
    check_words("statistics", "other")
    with pytest.raises(
        InvalidRequest, match="'stats': expected another one: /v2/models/stats tells"
    ):
        check_words("stats", "other")
