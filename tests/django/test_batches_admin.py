"""Batch jobs in the admin: pages that can be read, actions that do what they say."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from browsers.core.failures import Category
from browsers.redis import client
from inference.batches import engine, jobs
from inference.catalog.plans import clear_cache
from inference.models import OnnxModel, Run
from inference.models.batches import BatchJob, JobState
from tests.support.batches import break_one, chain_model, compute, new_job
from tests.support.ledger import publish

LIST = "/admin/inference/batchjob/"


@pytest.fixture
def job(database: None, valkey: Any, tmp_path: Path) -> Iterator[BatchJob]:
    """50 batches, of which one failed and one is done."""
    client().flushall()
    publish("a")
    made = new_job(chain_model(tmp_path, f"chain-{uuid.uuid4().hex[:6]}"), tmp_path, 100)
    for work in (
        lambda: break_one(made, Category.UNSUPPORTED_OPERATION, "no kernel"),
        lambda: compute(made),
    ):
        engine.advance(made.pk, timezone.now())
        work()
    engine.advance(made.pk, timezone.now())
    yield made
    Run.objects.all().delete()
    OnnxModel.objects.filter(pk=made.model_id).delete()
    clear_cache()
    client().flushall()


def test_the_list_shows_how_far_a_job_is(staff: Client, job: BatchJob) -> None:
    page = staff.get(LIST).content.decode()
    assert "2 of 100 items (2 %), 1 batches failed" in page


def test_a_jobs_page_has_its_batches_by_the_page(staff: Client, job: BatchJob) -> None:
    page = staff.get(f"{LIST}{job.pk}/change/").content.decode()
    assert "no kernel" in page
    assert "38 … 39 (2)" in page
    assert "40 … 41 (2)" not in page, "batches come twenty to a page"


def test_a_file_that_is_uploaded_becomes_a_job_or_says_what_is_wrong_with_it(
    staff: Client, job: BatchJob
) -> None:
    def upload(content: bytes) -> Any:
        file = SimpleUploadedFile("in.jsonl", content)
        fields = {"model": job.model_id, "file": file, "batch_size": 3, "platform": "wasm"}
        return staff.post(f"{LIST}add/", fields)

    assert staff.get(f"{LIST}add/").status_code == 200
    refused = upload(b'{"x": [1, 2, 3, 4]}\n{"x": [1]}')
    assert "line 2: model" in refused.content.decode()
    assert BatchJob.objects.count() == 1
    assert upload(b'{"x": [1, 2, 3, 4]}').status_code == 302
    made = BatchJob.objects.exclude(pk=job.pk).get()
    assert (made.owner, made.item_count, made.options["platform"]) == ("operator", 1, "wasm")


def test_actions_cancel_a_job_and_make_it_go_on(staff: Client, job: BatchJob) -> None:
    def act(name: str) -> str:
        staff.post(LIST, {"action": name, "_selected_action": [str(job.pk)]})
        job.refresh_from_db()
        return job.state

    assert act("cancel") == JobState.CANCELLED
    assert act("resume") == JobState.RUNNING
    assert job.batches.filter(state="failed").count() == 1
    jobs.cancel_job(job)
    assert act("retry_failed") == JobState.RUNNING
    assert job.batches.filter(state="failed").count() == 0
