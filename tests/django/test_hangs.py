"""Deadlines come from what the same work took in that browser; before that, from its size."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from inference.core.timeouts import LEAST, by_history_s, by_size_s
from inference.models import Attempt, Outcome, RunStep
from inference.worker.timeouts import Durations
from tests.support.ledger import make_run

pytestmark = pytest.mark.django_db
SHAPES = {"t0": (3, 100)}
OTHER = {"t0": (3, 4000)}


@pytest.fixture
def shard(valkey: Any) -> RunStep:
    return make_run().shards.select_related("plan_step")[0]


def record(shard: RunStep, count: int, **changes: Any) -> None:
    now = timezone.now()
    fields: dict[str, Any] = {
        "shard": shard, "number": 1, "outcome": Outcome.SUCCEEDED, "browser": "firefox",
        "compute_ms": 700.0, "transfer_ms": 100.0, "shapes": SHAPES, "warm": True,
        "started_at": now - timedelta(seconds=1), "finished_at": now,
    }  # fmt: skip
    for _ in range(count):
        Attempt.objects.create(**{**fields, **changes})


def allowed(durations: Durations, shard: RunStep, shapes: Any = SHAPES, **how: Any) -> float:
    how = {"loaded": True, **how}
    return durations.allowed_s(shard.plan_step.sha256, shapes, 50_000_000, **how)


def test_before_there_is_any_history_the_size_decides(shard: RunStep, settings: Any) -> None:
    settings.WEBPOOL_ATTEMPT_TIMEOUT_S = 60.0
    assert allowed(Durations("firefox"), shard) == pytest.approx(60 + 10)
    assert by_size_s(2_000_000_000, base_s=60.0) == pytest.approx(460)
    assert by_history_s([5.0] * (LEAST - 1)) is None


def test_history_on_that_browser_decides_for_work_of_that_size(
    shard: RunStep, settings: Any
) -> None:
    settings.WEBPOOL_ATTEMPT_TIMEOUT_S = 60.0
    record(shard, LEAST)
    record(shard, 1, compute_ms=9000.0, browser="chromium")
    record(shard, 1, compute_ms=9000.0, warm=False)
    record(shard, 1, compute_ms=None, outcome=Outcome.FAILED)
    firefox = Durations("firefox")
    assert allowed(firefox, shard) == pytest.approx(20 * 0.8)
    assert allowed(firefox, shard, OTHER) == pytest.approx(70), "other work"
    assert allowed(firefox, shard, loaded=False) == pytest.approx(70), "it is loaded first"
    assert allowed(Durations("webkitgtk"), shard) == pytest.approx(70), "another browser"
    firefox.note(shard.plan_step.sha256, SHAPES, 2000.0)
    assert allowed(firefox, shard) == pytest.approx(40)


def test_a_deadline_is_never_impatient(shard: RunStep) -> None:
    record(shard, LEAST, compute_ms=0.2, transfer_ms=0.1)
    assert allowed(Durations("firefox"), shard) == pytest.approx(10)


def test_what_was_slower_than_ever_is_not_taken_for_a_hang_twice(
    shard: RunStep, settings: Any
) -> None:
    settings.WEBPOOL_ATTEMPT_TIMEOUT_S = 60.0
    record(shard, LEAST)
    firefox = Durations("firefox")
    assert allowed(firefox, shard) == pytest.approx(16)
    firefox.forget(shard.plan_step.sha256, SHAPES)
    assert allowed(firefox, shard) == pytest.approx(70)
