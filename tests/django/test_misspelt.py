"""A name that nothing reads is refused by every door and command, before anything is done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from browsers.models import Browser
from browsers.redis import client
from inference.models import OnnxModel, Run
from inference.models.batches import BatchJob
from tests.support.asgi import ask
from tests.support.batches import chain_model, new_job
from tests.support.ledger import publish

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def job(database: None, valkey: Any, tmp_path: Path) -> Iterator[BatchJob]:
    client().flushall()
    Browser.objects.create(id="a", kind="chromium", family="chromium")
    publish("a")
    yield new_job(chain_model(tmp_path, "misspelt"), tmp_path)
    for rows in (BatchJob, Run, OnnxModel, Browser):
        rows.objects.all().delete()
    client().flushall()


def test_a_misspelt_name_in_a_document(job: BatchJob) -> None:
    for path, body in {
        f"/api/batches/{job.pk}/resume/": b'{"retry_faild": true}',
        "/api/browsers/a/drain/": b'{"raeson": "x"}',
        "/api/plans/": b'{"model": "misspelt", "shard": 2}',
        "/api/runs/": b'{"model": "misspelt", "inputs": {"x": [[1, 2, 3, 4]]}, "shard": 2}',
        "/api/models/": b'{"name": "x", "manifest": {}, "modeltype": "text"}',
    }.items():
        answered = ask("POST", path, body, JSON)
        assert answered.status == 400, path
        assert "unknown" in answered.json()["error"], path
    assert Browser.objects.get().drained_at is None


def test_a_misspelt_name_in_an_address_of_history(job: BatchJob) -> None:
    answered = ask("GET", "/api/history/performance/", query="modelname=x")
    assert answered.status == 400
    assert "expected browser" in answered.json()["error"]


def test_outputs_that_could_not_be_written_are_not_computed(job: BatchJob, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 4), np.float32))
    words = ["infer", "misspelt", "--input", str(tmp_path / "x.npz"), "--output"]
    for output in (tmp_path / "missing" / "y.npz", tmp_path):
        with pytest.raises(CommandError, match="--output") as caught:
            call_command(*words, str(output))
        assert caught.value.returncode == 2
    assert not Run.objects.exists()


def test_a_run_that_failed_is_no_mistake_of_the_caller(job: BatchJob, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 4), np.float32))
    with pytest.raises(CommandError, match="no answer by the deadline") as caught:
        call_command("infer", "misspelt", "--input", str(tmp_path / "x.npz"), "--deadline", "0.1")
    assert caught.value.returncode == 1


def test_a_browser_that_does_not_exist_is_one_clear_line(database: None, settings: Any) -> None:
    with pytest.raises(CommandError, match="netscape") as caught:
        call_command("validate_faults", "--browsers", "netscape")
    assert caught.value.returncode == 2
