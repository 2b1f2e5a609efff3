"""Batch jobs of one owner leave room for everybody else, and end all the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from inference.batches import jobs, storage
from inference.batches.feeder import feed
from inference.errors import Busy
from inference.ledger import endings
from inference.models import OnnxModel
from inference.models.batches import BatchJob, BatchState, JobState
from tests.support.asking import start
from tests.support.batches import compute, new_job, rows, step, to_the_end, write_jsonl


@pytest.fixture
def model(batch_model: OnnxModel) -> OnnxModel:
    return batch_model


def greedy(model: OnnxModel, folder: Path, count: int, owner: str = "key greedy") -> BatchJob:
    return new_job(model, folder, count, owner=owner, batch_size=1, concurrency=256)


def in_flight(job: BatchJob) -> int:
    return job.batches.filter(state=BatchState.RUNNING).count()


def test_jobs_of_one_key_keep_nobody_out_and_end(
    model: OnnxModel, tmp_path: Path, settings: Any
) -> None:
    settings.WEBPOOL_MAX_ACTIVE_RUNS, settings.WEBPOOL_MAX_RUNS_PER_OWNER = 8, 4
    made = [greedy(model, tmp_path, count) for count in (5, 6)]
    assert len(feed()) == 2
    assert [in_flight(job) for job in made] == [2, 0]
    asked = [start(model, owner) for owner in ("key other",) * 4 + ("key greedy",) * 2]
    with pytest.raises(Busy, match="4 runs of key greedy are active"):
        start(model, "key greedy")
    for job in made:
        to_the_end(job)
        assert (job.state, job.note) == (JobState.FINISHED, "")
    assert {batch.attempts for job in made for batch in job.batches.all()} == {1}
    for run in asked:
        endings.cancel(run.pk, "nobody wants it")


def test_a_job_without_room_says_so_and_goes_on_as_soon_as_there_is_some(
    model: OnnxModel, tmp_path: Path, settings: Any
) -> None:
    settings.WEBPOOL_MAX_RUNS_PER_OWNER = 2
    run = start(model, "key greedy")
    start(model, "key greedy")
    job = greedy(model, tmp_path, 2)
    assert step(job) == []
    assert (job.state, job.wait_until) == (JobState.RUNNING, None)
    assert "half of WEBPOOL_MAX_RUNS_PER_OWNER" in job.note
    assert {batch.attempts for batch in job.batches.all()} == {0}
    endings.cancel(run.pk, "nobody wants it")
    to_the_end(job)
    assert (job.state, job.note) == (JobState.FINISHED, "")


def test_all_jobs_together_leave_half_and_who_has_none_in_flight_comes_first(
    model: OnnxModel, tmp_path: Path, settings: Any
) -> None:
    settings.WEBPOOL_MAX_ACTIVE_RUNS = 8
    first = greedy(model, tmp_path, 20, "command line")
    assert len(feed()) == 4
    other = greedy(model, tmp_path, 3, "key other")
    for _ in range(4):
        start(model, "key third")
    with pytest.raises(Busy, match="WEBPOOL_MAX_ACTIVE_RUNS"):
        start(model, "key third")
    feed()
    assert [in_flight(job) for job in (first, other)] == [4, 0]
    compute(first)
    feed()
    assert [in_flight(job) for job in (first, other)] == [1, 3]


def test_one_owner_has_so_many_jobs_that_run(
    model: OnnxModel, tmp_path: Path, settings: Any
) -> None:
    settings.WEBPOOL_MAX_JOBS_PER_OWNER = 1
    job = greedy(model, tmp_path, 2)
    refusal = r"1 batch jobs of key greedy run.*WEBPOOL_MAX_JOBS_PER_OWNER"
    with pytest.raises(Busy, match=refusal):
        greedy(model, tmp_path, 3)
    assert greedy(model, tmp_path, 2) == job, "one that is known is no job more"
    for owner in ("key other", "command line", "command line"):
        greedy(model, tmp_path, 3, owner)
    assert jobs.cancel_job(job)
    second = greedy(model, tmp_path, 3)
    with pytest.raises(Busy, match=refusal):
        jobs.resume_job(job)
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED
    to_the_end(second)
    assert jobs.resume_job(job)


def test_many_jobs_asked_for_at_once_are_no_more_than_one_may_have(
    model: OnnxModel, tmp_path: Path, settings: Any
) -> None:
    settings.WEBPOOL_MAX_JOBS_PER_OWNER = 2
    storage.root().mkdir(exist_ok=True)
    before = {path.name for path in storage.root().iterdir()}
    together = threading.Barrier(5)

    def ask(count: int) -> bool:
        source = write_jsonl(tmp_path / f"{count}.jsonl", rows(count))
        request = jobs.JobRequest(model=model.name, source=source, owner="key greedy")
        together.wait()
        try:
            jobs.create_job(request)
        except Busy:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(5) as threads:
        made = list(threads.map(ask, range(1, 6)))
    assert sum(made) == BatchJob.objects.count() == 2
    left = {path.name for path in storage.root().iterdir()} - before
    assert left == {str(job.pk) for job in BatchJob.objects.all()}, (
        "no file of one that was refused"
    )
