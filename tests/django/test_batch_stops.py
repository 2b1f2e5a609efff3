"""Batch jobs that are stopped at any moment, or fail: they go on where they were, or say why not.

Against a real database and a real Valkey; the test plays the workers' part.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from browsers.core.failures import Category
from browsers.redis import client
from inference.batches import engine, jobs, report, storage
from inference.batches.feeder import feed, jobs_to_feed
from inference.ledger import endings
from inference.models import OnnxModel, Run, RunState
from inference.models.batches import BatchJob, BatchState, JobState
from tests.support.asking import start
from tests.support.batches import (
    break_one,
    compute,
    new_job,
    of_job,
    output,
    states,
    step,
    succeeded_attempts,
    to_the_end,
)
from tests.support.ledger import publish


@pytest.fixture
def model(batch_model: OnnxModel) -> OnnxModel:
    return batch_model


# --- stops at any moment -------------------------------------------------------------------


def test_a_claimer_that_died_before_it_sent_is_waited_for_and_then_replaced(
    model: OnnxModel, tmp_path: Path
) -> None:
    job, now = new_job(model, tmp_path, 2), timezone.now()
    assert engine.claim(job.batches.get(), now)
    assert step(job, now + timedelta(seconds=engine.CLAIM_S - 1)) == []
    assert len(step(job, now + timedelta(seconds=engine.CLAIM_S + 1))) == 1
    assert job.batches.get().attempts == 2


def test_who_feeds_alone_waits_for_nobody_who_claimed_before(
    model: OnnxModel, tmp_path: Path
) -> None:
    job, now = new_job(model, tmp_path, 2), timezone.now()
    assert engine.claim(job.batches.get(), now)
    assert feed(alone_since=now) == [], "who claimed at that moment may be alive"
    assert len(feed(alone_since=now + timedelta(microseconds=1))) == 1
    assert job.batches.get().attempts == 2


def test_a_run_whose_claimer_died_before_noting_it_is_adopted(
    model: OnnxModel, tmp_path: Path
) -> None:
    job = new_job(model, tmp_path, 2)
    (run_id,) = step(job)
    job.batches.update(run=None)
    assert step(job) == [run_id]
    to_the_end(job)
    assert Run.objects.filter(pk__in=of_job(job).values("run")).count() == 1


def test_a_late_claimer_cancels_its_run_when_the_batch_was_given_away(
    model: OnnxModel, tmp_path: Path
) -> None:
    job, now = new_job(model, tmp_path, 2), timezone.now()
    late = job.batches.get()
    assert engine.claim(late, now)
    (run_id,) = step(job, now + timedelta(seconds=engine.CLAIM_S + 1))
    engine._send(job, late)
    assert job.batches.get().run_id == run_id
    assert [r.state for r in Run.objects.exclude(pk=run_id)] == [RunState.CANCELLED]


def test_a_result_that_was_written_but_not_noted_is_not_computed_again(
    model: OnnxModel, tmp_path: Path
) -> None:
    job = new_job(model, tmp_path, 2)
    step(job)
    compute(job)
    step(job)
    assert states(job) == [BatchState.DONE]
    # As if it had been killed between the file and the row; the outputs have expired since.
    job.batches.update(state=BatchState.RUNNING)
    BatchJob.objects.update(state=JobState.RUNNING)
    to_the_end(job)
    assert (job.state, states(job)) == (JobState.FINISHED, [BatchState.DONE])
    assert succeeded_attempts(job) == {"0": 1}


def test_outputs_that_were_lost_with_the_store_are_computed_again_but_not_for_ever(
    model: OnnxModel, tmp_path: Path
) -> None:
    job = new_job(model, tmp_path, 2)
    for attempt in (1, 2, 3):
        step(job)
        assert job.batches.get().attempts == attempt
        compute(job)
        client().delete(*client().keys("webpool:tensor:*"))
        step(job)
    batch = job.batches.get()
    assert (batch.state, batch.error_category) == (BatchState.FAILED, "expired")
    step(job)
    assert job.state == JobState.FAILURES


def test_a_disk_that_takes_no_result_is_waited_for_and_named(
    model: OnnxModel, tmp_path: Path
) -> None:
    job = new_job(model, tmp_path, 2)
    feed()
    compute(job)
    folder = storage.folder_of(job.pk)
    away = folder.rename(folder.with_name("away"))
    assert feed() == []
    job.refresh_from_db()
    assert "No such file" in job.note
    away.rename(folder)
    feed()
    job.refresh_from_db()
    assert (job.state, job.note) == (JobState.FINISHED, "")
    assert succeeded_attempts(job) == {"0": 1}


# --- failures ------------------------------------------------------------------------------


def test_a_failed_batch_has_its_reason_and_the_others_go_on(
    model: OnnxModel, tmp_path: Path
) -> None:
    job = new_job(model, tmp_path, 6)
    step(job)
    break_one(job, Category.UNSUPPORTED_OPERATION, "no such kernel")
    to_the_end(job)
    assert job.state == JobState.FAILURES
    (failure,) = report.failures(job)
    assert (failure["batch"], failure["items"]) == (0, [0, 1])
    assert "no such kernel" in failure["error"]
    lines = output(job, tmp_path)
    assert ["_error" in line for line in lines] == [True, True, False, False, False, False]
    assert output(job, tmp_path, "npz")["_item"].tolist() == [2, 3, 4, 5]

    assert not jobs.resume_job(job), "nothing is left but what failed"
    assert jobs.resume_job(job, retry_failed=True)
    to_the_end(job)
    assert job.state == JobState.FINISHED
    assert succeeded_attempts(job) == {"0": 1, "1": 1, "2": 1}
    assert not any("_error" in line for line in output(job, tmp_path))


def test_a_full_pool_is_waited_for(model: OnnxModel, tmp_path: Path, settings: Any) -> None:
    settings.WEBPOOL_MAX_ACTIVE_RUNS = 1
    run = start(model, "anonymous")
    job, now = new_job(model, tmp_path, 6), timezone.now()
    assert step(job, now) == []
    assert job.wait_until is not None
    assert job.wait_until > now
    assert "limit is 1" in job.note
    assert job.batches.get(index=0).attempts == 0, "being refused is no attempt"
    endings.cancel(run.pk, "nobody wants it")
    settings.WEBPOOL_MAX_ACTIVE_RUNS = 10
    assert step(job, now) == [], "not before the time it was told"
    assert len(step(job, job.wait_until)) == 2
    assert job.note == ""


def test_without_a_ready_browser_the_job_waits_and_says_so(
    model: OnnxModel, tmp_path: Path
) -> None:
    job = new_job(model, tmp_path, 4, options={"browsers": "a"})
    publish("a", state="recovering")
    assert step(job) == []
    assert (job.state, job.note) == (
        JobState.RUNNING,
        "no browser that may be used is ready; waiting for one",
    )
    publish("a")
    assert len(step(job, timezone.now() + timedelta(seconds=10))) == 1


def test_a_cancelled_job_ends_its_runs_and_goes_on_where_it_was(
    model: OnnxModel, tmp_path: Path
) -> None:
    job = new_job(model, tmp_path, 8)
    step(job)
    compute(job)
    step(job)
    assert jobs.cancel_job(job)
    assert not jobs.cancel_job(job)
    assert jobs_to_feed() == [job.pk], "its runs in flight are to be ended"
    assert step(job) == []
    assert states(job) == ["done", "done", "waiting", "waiting"]
    assert not Run.objects.active().exists()
    assert jobs_to_feed() == []
    assert [line.get("_error") for line in output(job, tmp_path)][3:5] == [
        None,
        "not computed: waiting",
    ]
    assert jobs.resume_job(job)
    to_the_end(job)
    assert job.state == JobState.FINISHED
    assert succeeded_attempts(job) == {str(i): 1 for i in range(4)}


def test_a_batch_that_was_done_before_its_cancel_stays_done(
    model: OnnxModel, tmp_path: Path
) -> None:
    job = new_job(model, tmp_path, 4)
    step(job)
    compute(job)
    jobs.cancel_job(job)
    step(job)
    assert states(job) == ["done", "done"]
    assert jobs.resume_job(job)
    step(job)
    assert job.state == JobState.FINISHED
