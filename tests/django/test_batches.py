"""The engine of batch jobs, against a real database and a real Valkey; the test plays the workers' part."""

from __future__ import annotations

import dataclasses
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from browsers.redis import client
from history.core.configuration import published
from history.core.recommendations import Basis, from_measurements
from history.core.series import Series, Work
from history.models import BrowserRecommendation
from inference.batches import engine, jobs, readers, report, results, storage
from inference.batches.feeder import feed, jobs_to_feed
from inference.batches.prepare import BadItems
from inference.batches.retention import forget_old_jobs
from inference.catalog.uploads import Conflict, remove_model
from inference.errors import InvalidRequest, TooLarge, Unavailable
from inference.ledger import endings
from inference.models import OnnxModel, Run
from inference.models.batches import Batch, BatchJob, JobState
from inference.scheduling import advice
from inference.store import wakeups
from tests.support.batches import (
    compute,
    new_job,
    of_job,
    output,
    right_answer,
    rows,
    step,
    succeeded_attempts,
    to_the_end,
    write_jsonl,
)
from tests.unit.history.truth import series


@pytest.fixture
def model(batch_model: OnnxModel) -> OnnxModel:
    return batch_model


# --- from start to end ---------------------------------------------------------------------


def test_a_job_is_computed_in_batches_and_put_together_in_order(
    model: OnnxModel, tmp_path: Path
) -> None:
    job = new_job(model, tmp_path, 9)
    to_the_end(job)
    assert job.state == JobState.FINISHED
    lines = output(job, tmp_path)
    assert [line["_item"] for line in lines] == list(range(9))
    answer = right_answer(model, rows(9))
    np.testing.assert_allclose([line["y"] for line in lines], answer, atol=1e-6)
    np.testing.assert_array_equal(output(job, tmp_path, "npz")["y"], answer)
    assert succeeded_attempts(job) == {str(i): 1 for i in range(5)}
    assert not list(storage.folder_of(job.pk).glob("in-*")), "inputs of done batches are deleted"
    assert not client().keys("webpool:tensor:*"), "collected outputs are dropped from the store"


def test_as_many_batches_are_in_flight_as_browsers_are_ready_or_as_was_asked(
    model: OnnxModel, tmp_path: Path
) -> None:
    by_browsers, one = new_job(model, tmp_path), new_job(model, tmp_path, concurrency=1, again=True)
    only_b = new_job(model, tmp_path, options={"browsers": "b"})
    for job, expected in ((by_browsers, 2), (one, 1), (only_b, 1)):
        for _ in range(3):
            assert len(step(job)) == expected, "asking again sends no more"
    assert set(of_job(only_b).values_list("browser", flat=True)) == {"b"}


def test_the_feeder_advances_every_job_and_a_wait_ends_with_a_run(
    model: OnnxModel, tmp_path: Path
) -> None:
    first, second = new_job(model, tmp_path, 6), new_job(model, tmp_path, 2)
    flying = feed()
    assert len(flying) == 3
    assert not wakeups.wait_any(flying, 0.05)
    compute(second)
    assert wakeups.wait_any(flying, 5)
    assert wakeups.wait_any(flying, 5), "the signal stays for others who wait"
    compute(first)
    feed()
    feed()
    assert jobs_to_feed() == [first.pk]


def test_two_callers_at_once_start_each_batch_once(model: OnnxModel, tmp_path: Path) -> None:
    job = new_job(model, tmp_path, 40, concurrency=20)
    together = threading.Barrier(3)

    def call() -> None:
        try:
            together.wait()
            for _ in range(3):
                engine.advance(job.pk, timezone.now())
        finally:
            connection.close()

    for _ in range(20):
        with ThreadPoolExecutor(3) as threads:
            for done in [threads.submit(call) for _ in range(3)]:
                done.result()
        compute(job)
        job.refresh_from_db()
        if job.state != JobState.RUNNING:
            break
    assert job.state == JobState.FINISHED
    assert succeeded_attempts(job) == {str(i): 1 for i in range(20)}
    assert of_job(job).count() == 20, "no batch was sent twice"


# --- creating and forgetting ---------------------------------------------------------------


def test_the_same_file_model_and_options_are_the_same_job(model: OnnxModel, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", rows(4))
    request = jobs.JobRequest(model=model.name, source=source)
    job, new = jobs.create_job(request)
    again, new_again = jobs.create_job(request)
    assert (new, new_again, again) == (True, False, job)
    others = [{"batch_size": 3}, {"options": {"platform": "wasm"}}, {"owner": "x"}, {"again": True}]
    for change in others:
        other, new = jobs.create_job(
            jobs.JobRequest(model=model.name, source=source, **change)  # type: ignore[arg-type]
        )
        assert (new, other == job) == (True, False), change
    assert jobs.create_job(request) == (other, False), "the latest one counts"
    write_jsonl(source, rows(5))
    assert jobs.create_job(request)[1]


def test_a_job_that_names_no_batch_size_takes_what_history_measured(
    model: OnnxModel, tmp_path: Path
) -> None:
    def in_batches_of(size: int) -> Series:
        work = Work("text", model.name, "ab" * 32, f"x[{size},4]", size)
        return series(np.full(5, 10.0), work=work)

    source = write_jsonl(tmp_path / "in.jsonl", rows(4))
    request = jobs.JobRequest(model=model.name, source=source, again=True)
    advice.clear_cache()
    assert jobs.create_job(request)[0].batch_size == jobs.DEFAULT_BATCH_SIZE
    found = from_measurements([in_batches_of(1), in_batches_of(2)], Basis.MODEL)
    assert found is not None
    BrowserRecommendation.objects.create(
        timestamp=timezone.now(), model_type=model.model_type, model_name=model.name,
        recommended_browser="chromium", confidence=1.0, sample_size=10, based_on=found.based_on,
        config=published(found),
    )  # fmt: skip
    advice.clear_cache()
    job, _ = jobs.create_job(request)
    assert (job.batch_size, job.batch_count) == (2, 2)
    assert jobs.create_job(dataclasses.replace(request, batch_size=4))[0].batch_count == 1
    BrowserRecommendation.objects.all().delete()
    advice.clear_cache()


def test_every_bad_line_is_reported_and_nothing_is_kept(model: OnnxModel, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    bad = ['{"x": [1, 2, 3]}', "nonsense", '{"z": 1}'] + ["[]"] * 30
    source.write_text("\n".join(['{"x": [1, 2, 3, 4]}', *bad]))
    before = set(storage.root().iterdir()) if storage.root().exists() else set()
    with pytest.raises(BadItems) as caught:
        jobs.create_job(jobs.JobRequest(model=model.name, source=source, batch_size=1))
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("in.jsonl: 33 items cannot be computed")
    assert [line.split(":")[0] for line in lines[1:4]] == ["line 2", "line 3", "line 4"]
    assert lines[-1] == "and 13 more"
    assert set(storage.root().iterdir()) == before
    assert not BatchJob.objects.exists()


def test_a_file_of_more_items_than_a_job_may_have_is_read_no_further(
    model: OnnxModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MOST_ITEMS", 5)
    for count in (5, 6):
        source = tmp_path / f"{count}.npz"
        np.savez_compressed(source, x=np.zeros((count, 4), np.float32))
        request = jobs.JobRequest(model=model.name, source=source, batch_size=2)
        if count == 5:
            assert jobs.create_job(request)[0].item_count == 5
            kept = set(storage.root().iterdir())
            continue
        with pytest.raises(
            TooLarge, match=r"6\.npz: it holds more than 5 items: send them as several"
        ):
            jobs.create_job(request)
    assert set(storage.root().iterdir()) == kept


def test_a_batch_is_no_larger_than_a_request_may_be(
    model: OnnxModel, tmp_path: Path, settings: Any
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 40  # an item has 16 bytes
    job = new_job(model, tmp_path, count=6, batch_size=6)
    assert [batch.item_count for batch in job.batches.order_by("index")] == [2, 2, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected a whole number from 1 to"),
        ({"concurrency": 0}, "concurrency: expected a whole number from 1 to"),
        ({"options": {"browsers": "lynx"}}, "no browser of the pool is named 'lynx'"),
        (
            {"options": {"platform": "webnn"}},
            "no browser of the pool offers webnn; backends: a: wasm",
        ),
        ({"options": {"pins": "0=a"}}, "unknown parameter pins"),
        ({"model": "nosuch"}, "no model named 'nosuch'"),
    ],
)
def test_what_cannot_be_right_is_refused(
    model: OnnxModel, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", rows(1))
    with pytest.raises(InvalidRequest, match=message):
        jobs.create_job(jobs.JobRequest(**{"model": model.name, "source": source, **change}))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "expected MODEL and --input FILE, or --resume JOB"),
        (["--resume", str(uuid.uuid4())], "no batch job has the id"),
        (["--resume", "x"], "is not the id of a batch job"),
        (["MODEL", "--input", "nosuch.npz"], "nosuch.npz: no such file"),
        (["MODEL", "--input", "x.csv"], "expected a file that ends in"),
        (["MODEL", "--input", "IN", "--output", "y.csv"], "expected a file that ends in"),
    ],
)
def test_the_command_asks_for_what_it_needs(
    model: OnnxModel, tmp_path: Path, args: list[str], message: str
) -> None:
    words = {"MODEL": model.name, "IN": str(write_jsonl(tmp_path / "in.jsonl", rows(2)))}
    with pytest.raises(CommandError, match=message) as caught:
        call_command("run_batch", *(words.get(arg, arg) for arg in args))
    assert caught.value.returncode == 2
    assert not BatchJob.objects.exists()


def test_without_a_pool_no_job_is_made(model: OnnxModel, tmp_path: Path) -> None:
    client().flushall()
    with pytest.raises(Unavailable, match="make up"):
        new_job(model, tmp_path)


def test_an_empty_file_holds_no_items(model: OnnxModel, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="holds no items"):
        new_job(model, tmp_path, 0)
    archive, table = tmp_path / "none.npz", tmp_path / "none.parquet"
    np.savez(archive, x=rows(0))
    with duckdb.connect() as db:
        db.execute(f"COPY (SELECT [1.0] AS x LIMIT 0) TO '{table}' (FORMAT parquet)")
    for file in (archive, table):
        with pytest.raises(CommandError, match=f"{file.name} holds no items") as caught:
            call_command("run_batch", model.name, "--input", str(file))
        assert caught.value.returncode == 2


def test_a_model_is_not_removed_while_a_job_of_it_runs(model: OnnxModel, tmp_path: Path) -> None:
    job = new_job(model, tmp_path, 2)
    with pytest.raises(Conflict, match="1 batch jobs"):
        remove_model(model)
    with pytest.raises(Conflict, match="still running"):
        results.download(job, "npz")


def test_old_jobs_are_forgotten_with_their_files(model: OnnxModel, tmp_path: Path) -> None:
    old, young = new_job(model, tmp_path, 2), new_job(model, tmp_path, 4)
    for job in (old, young):
        to_the_end(job)
    BatchJob.objects.filter(pk=old.pk).update(finished_at=timezone.now() - timedelta(days=8))
    forget_old_jobs(timezone.now())
    assert list(BatchJob.objects.all()) == [young]
    assert not storage.folder_of(old.pk).exists()
    assert results.download(young, "jsonl").exists()
    assert not Batch.objects.filter(job_id=old.pk).exists()


def test_forgotten_runs_do_not_undo_a_job(model: OnnxModel, tmp_path: Path) -> None:
    job = new_job(model, tmp_path, 2)
    to_the_end(job)
    Run.objects.all().delete()
    assert job.batches.get().run is None
    assert len(output(job, tmp_path)) == 2
    assert report.computed_by(job) == {}


def test_a_run_that_its_owner_cancelled_is_a_failed_batch(model: OnnxModel, tmp_path: Path) -> None:
    job = new_job(model, tmp_path, 2)
    (run_id,) = step(job)
    endings.cancel(run_id, "cancelled by somebody")
    step(job)
    assert report.failures(job)[0]["error"] == "cancelled by somebody"


def test_a_last_batch_with_fewer_rows_than_parts_is_split_into_fewer(
    model: OnnxModel, tmp_path: Path
) -> None:
    job = new_job(
        model, tmp_path, 4, batch_size=3, options={"strategy": "data", "shards": 2}, concurrency=2
    )
    step(job)
    plans = Run.objects.filter(owner__startswith=f"batch {job.pk}/").order_by("created_at")
    assert list(plans.values_list("plan__num_shards", flat=True)) == [2, 1]
