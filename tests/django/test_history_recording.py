"""From the database into the history file: each acknowledged sample once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from browsers.models import Browser
from history import recording
from history.core.samples import Observation
from history.models import HistoryState, PendingSample
from history.store import latest
from inference.catalog import uploads
from inference.models import Attempt, Outcome, Run
from inference.store import outbox
from tests.support.history import kept
from tests.support.ledger import make_run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any, valkey: Any) -> Iterator[Path]:
    settings.WEBPOOL_HOME = tmp_path
    settings.WEBPOOL_HISTORY_PATH = tmp_path / "history" / "history.duckdb"
    (tmp_path / "files").mkdir()
    yield tmp_path


def attempt(run: Run, **changes: Any) -> Attempt:
    now = timezone.now()
    fields: dict[str, Any] = {
        "shard": run.shards.all()[0], "number": 1, "outcome": Outcome.SUCCEEDED,
        "browser": "firefox-2", "browser_version": "153", "backend": "wasm", "compute_ms": 5.0,
        "shapes": {"t0": [3]}, "tokens": 10, "bytes_in": 12, "bytes_out": 24,
        "started_at": now - timedelta(milliseconds=8), "finished_at": now,
    }  # fmt: skip
    return Attempt.objects.create(**{**fields, **changes})


def rows() -> list[dict[str, Any]]:
    return kept(latest(recording.history_path()))


def pending(**changes: Any) -> Observation:
    fields: dict[str, Any] = {
        "source": "", "source_id": 0, "timestamp": datetime.now(UTC).replace(tzinfo=None),
        "browser": "chromium", "model_type": "text", "model_name": "m", "platform": "wasm",
        "latency_ms": 3.0, "success": True,
    }  # fmt: skip
    return Observation(**{**fields, **changes})


def test_an_attempt_whose_model_is_deleted_while_it_is_read_is_left_out() -> None:
    run = make_run()
    asked: list[str] = []
    attempt(run)
    Run.objects.update(state="succeeded")

    def deleted_meanwhile(execute: Any, sql: str, *rest: Any) -> Any:
        if 'FROM "inference_planstep"' in sql and not asked:
            asked.append(sql)
            uploads.remove_model(run.model)
        return execute(sql, *rest)

    with connection.execute_wrapper(deleted_meanwhile):
        outbox.hand_over()
    assert asked
    assert not Attempt.objects.exists()
    outbox.hand_over()
    assert [row["browser_id"] for row in rows()] == ["firefox-2"], "kept by whoever deleted it"


def test_an_attempt_becomes_a_row_with_what_it_was_measured_on() -> None:
    Browser.objects.create(id="firefox-2", kind="firefox", family="firefox", host="here")
    run = make_run()
    attempt(run)
    assert outbox.hand_over() == 1
    (row,) = rows()
    assert (row["browser"], row["browser_id"], row["host"]) == ("firefox", "firefox-2", "here")
    assert (row["latency_ms"], row["throughput_tokens_per_sec"]) == (5.0, 2000.0)
    assert (row["work"], row["shape"]) == (f"{0:064d}", "t0[4]")
    assert (row["bytes_in"], row["bytes_out"], row["concurrent"]) == (12, 24, 0)
    assert outbox.hand_over() == 0
    assert HistoryState.objects.current().samples == 1


def test_a_failure_is_a_row_without_a_latency() -> None:
    attempt(
        make_run(), outcome=Outcome.LOST, error_category="browser_crash", compute_ms=None,
        backend="", tokens=None, shapes={}, browser_version="",
    )  # fmt: skip
    outbox.hand_over()
    (row,) = rows()
    assert (row["success"], row["error_type"]) == (False, "browser_crash")
    unknown = ("latency_ms", "platform", "throughput_tokens_per_sec", "shape", "browser_version")
    assert [row[name] for name in unknown] == [None] * 5


def test_attempts_at_the_same_time_are_counted() -> None:
    run, now = make_run(), timezone.now()
    for start, end in ((0, 10), (5, 15), (9, 30), (20, 25)):
        attempt(
            run,
            started_at=now + timedelta(seconds=start),
            finished_at=now + timedelta(seconds=end),
        )
    outbox.hand_over()
    assert [row["concurrent"] for row in sorted(rows(), key=lambda r: r["source_id"])] == [
        2,
        2,
        3,
        1,
    ]


def test_pending_samples_are_taken_once_and_leave_the_outbox() -> None:
    recording.put([pending(), pending(latency_ms=4.0)])
    left = list(PendingSample.objects.values())
    assert outbox.hand_over() == 2
    assert not PendingSample.objects.exists()
    # A worker killed between the two commits finds them again.
    PendingSample.objects.bulk_create([PendingSample(**row) for row in left])
    assert outbox.hand_over() == 0
    assert not PendingSample.objects.exists()
    assert sorted(row["latency_ms"] for row in rows()) == [3.0, 4.0]


def test_a_removed_model_leaves_its_history() -> None:
    run, other = make_run(), make_run()
    attempt(run)
    outbox.hand_over()
    lost = [attempt(run, compute_ms=7.0), attempt(run, compute_ms=8.0)]
    attempt(other)
    run.state = "succeeded"
    run.save()
    uploads.remove_model(run.model)
    assert not Attempt.objects.filter(pk__in=[row.pk for row in lost]).exists()
    assert outbox.hand_over() == 3
    assert sorted(row["latency_ms"] for row in rows()) == [5.0, 5.0, 7.0, 8.0]
    assert outbox.hand_over() == 0


def test_nothing_new_leaves_the_file_closed_and_its_copy_complete_as_of_now() -> None:
    attempt(make_run())
    assert outbox.hand_over() == 1
    file = recording.history_path()
    (copy,) = file.parent.glob("history.snapshot-*.duckdb")
    os.utime(copy, (1, 1))
    before = file.stat().st_mtime_ns
    assert outbox.hand_over() == 0
    assert (file.stat().st_mtime_ns, list(file.parent.glob("history.snapshot-*"))) == (
        before,
        [copy],
    )
    assert copy.stat().st_mtime > time.time() - 60
    file.unlink()
    assert outbox.hand_over() == 1, "a file that was lost is made anew, from what the ledger keeps"


def test_another_database_has_other_samples_of_the_same_numbers() -> None:
    attempt(make_run())
    outbox.hand_over()
    HistoryState.objects.update(ledger="another")
    assert outbox.hand_over() == 1


def test_a_shard_is_compared_with_what_does_the_same_kind_of_work() -> None:
    run = make_run()
    parts = run.shards.select_related("plan_step").order_by("index")
    for step, kind in zip(parts, ("attention", ""), strict=True):
        step.plan_step.work_type = kind
        step.plan_step.save()
        attempt(run, shard=step)
    outbox.hand_over()
    assert sorted(row["model_type"] for row in rows()) == ["attention", "other"]


@pytest.mark.parametrize(
    ("category", "asked", "blame"),
    [
        ("browser_crash", {}, "browser"),
        ("model_incompatible", {}, "nobody"),
        ("out_of_memory", {"strict": True}, "model"),
        ("unsupported_operation", {}, "model"),
        ("unsupported_operation", {"strict": True}, "nobody"),
        ("unsupported_operation", {"platform": "webnn"}, "nobody"),
        ("browser_capability", {"pins": {"0": "firefox/webgpu"}}, "nobody"),
        ("browser_capability", {"pins": {"0": "firefox"}}, "model"),
        ("refused", {}, "nobody"),
    ],
)
def test_a_failure_counts_against_whom_it_is_due_to(
    category: str, asked: dict[str, Any], blame: str
) -> None:
    run = make_run()
    Run.objects.filter(pk=run.pk).update(**asked)
    attempt(run, outcome=Outcome.FAILED, error_category=category, compute_ms=None, backend="")
    outbox.hand_over()
    (row,) = rows()
    assert row["blame"] == blame


def test_what_a_browser_refused_is_its_fault_once_another_has_computed_it() -> None:
    run = make_run()
    attempt(run, outcome=Outcome.FAILED, error_category="refused", compute_ms=None, backend="")
    run.shards.update(state="done")
    outbox.hand_over()
    (row,) = rows()
    assert row["blame"] == "model"
