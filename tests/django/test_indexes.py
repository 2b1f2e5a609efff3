"""What every request, and the sweep, asks of SQLite is found by an index, however many rows are kept."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from inference.core.turns import Turns
from inference.ledger import draining, redispatch, stealing, sweep
from inference.models import Run, RunStep, StepState
from inference.runs import admission, quotas
from inference.runs.answers import places
from inference.scheduling.pool_view import snapshot
from inference.store import outbox
from inference.store.under_way import under_way
from inference.telemetry import live_page
from tests.support import workers
from tests.support.ledger import make_run, publish

pytestmark = [
    pytest.mark.usefixtures("clean"),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite's planner"),
]
# A table that grows with what is kept, by its name or as statements call it, read from end to end.
_WHOLE = re.compile(
    r"SCAN (inference_(?:run|runstep|attempt)|run|shard|step|attempt|U0)\b(?! USING .*INDEX run_active)"
)


@contextmanager
def plans() -> Iterator[list[str]]:
    """How SQLite goes about each statement, asked with the values that it has: they decide, too."""
    asked: list[tuple[str, Any]] = []
    found: list[str] = []

    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        asked.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield found
    with connection.cursor() as cursor:
        for sql, params in asked:
            if (
                sql.lstrip("- \n").upper().startswith(("SELECT", "UPDATE", "DELETE"))
                or "\nSELECT" in sql
            ):
                cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
                found += [f"{row[3]}: {sql}" for row in cursor.fetchall()]


def step_of(run: Run) -> Any:
    row = run.shards.get(index=0)
    return workers.claim((row.pk, row.fence))


def answer_a_run() -> None:
    run = make_run("layer", 2)
    row = run.shards.get(index=0)
    step = workers.claim_next("a", (row.pk, row.fence), Turns())
    assert step is not None
    workers.answer(step, 1.0)
    places(run)


def let_a_run_in() -> None:
    admission.admit()
    quotas.admit("key other")


def sweep_up() -> None:
    """With work for each of its steps that it can have work for."""
    publish("a")
    step_of(make_run("layer", 1))
    make_run("data", 2)
    sweep.sweep(timezone.now() + 3 * sweep.LOST_MESSAGE_AFTER)


def steal() -> None:
    publish("a", idle_since=None)
    publish("b", idle_since=time.time())
    stealing.steal(timezone.now() + 2 * stealing.WAITS_LONG)
    assert RunStep.objects.outstanding(StepState.QUEUED).filter(browser="b").exists()


def drain() -> None:
    draining.left("a")
    redispatch.move_queued("a")


@pytest.mark.parametrize(
    "work",
    [
        snapshot,
        let_a_run_in,
        answer_a_run,
        sweep_up,
        steal,
        under_way,
        drain,
        outbox.hand_over,
        live_page.pool_now,
    ],
    ids=lambda work: work.__name__,
)
def test_no_statement_reads_a_growing_table_from_end_to_end(work: Callable[[], Any]) -> None:
    publish("a")
    make_run("layer", 1)
    with plans() as found:
        work()
    assert found
    assert [plan for plan in found if _WHOLE.match(plan)] == []
