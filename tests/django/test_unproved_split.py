"""What is only tried, not proved, is not split and not joined unless the caller allows it: at every door."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.utils import timezone

from browsers.state.live import LiveModel
from inference.batches import engine, jobs, report, results
from inference.catalog import plans, registry
from inference.errors import InvalidRequest
from inference.graph.batching.batch_axis import BatchAxis, Verdict
from inference.models import OnnxModel, Run
from inference.models.batches import BatchJob, JobState
from inference.runs import auto, creation
from inference.runs.metrics import run_metrics
from inference.scheduling.pool_view import snapshot
from inference.store.tensors import encode_array
from tests.support.batches import compute, right_answer, rows, write_jsonl
from tests.support.ledger import make_run, publish
from tests.support.meeting import meets_after

REFUSED = (
    r"tried with 7 sizes, not proved .*; set allow_unproved_split=true \(--allow-unproved-split\)"
)


@pytest.fixture
def pool(clean: None) -> Iterator[None]:
    auto.hop_rates.cache_clear()
    publish("a")
    publish("b")
    yield
    OnnxModel.objects.filter(name__in=("late", "early")).delete()
    plans.clear_cache()


@pytest.fixture
def tried(pool: None, tmp_path: Path) -> OnnxModel:
    """Its rows meet above a hundred."""
    return registry.add_model(meets_after(tmp_path / "late.onnx", 100), name="late")


@pytest.fixture
def meeting(pool: None, tmp_path: Path) -> OnnxModel:
    """Its rows meet above four."""
    return registry.add_model(meets_after(tmp_path / "early.onnx", 4), name="early")


def asking(model: OnnxModel, **options: Any) -> creation.RunRequest:
    return creation.RunRequest(model=model.name, inputs=[encode_array("x", rows(6))], **options)


@pytest.mark.parametrize("options", [{"strategy": "data", "shards": 2}, {"strategy": "data"}])
def test_a_batch_is_split_by_data_only_where_that_is_allowed(
    tried: OnnxModel, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest, match=REFUSED) as refusal:
        creation.create_run(asking(tried, **options))
    assert refusal.value.status == 400
    assert not Run.objects.exists()
    run = creation.create_run(asking(tried, **options, allow_unproved_split=True))
    assert run_metrics(run)["batch_split"] == "tried"
    with pytest.raises(InvalidRequest, match=REFUSED):  # the plan that is there now changes nothing
        creation.create_run(asking(tried, **options))


def test_a_batch_is_split_over_copies_of_layers_only_where_that_is_allowed(
    tried: OnnxModel,
) -> None:
    options = {"strategy": "layer", "shards": 1, "data_parallel": 2}
    with pytest.raises(InvalidRequest, match=REFUSED):
        creation.create_run(asking(tried, **options))
    run = creation.create_run(asking(tried, **options, allow_unproved_split=True))
    assert run_metrics(run)["batch_split"] == "tried"


def test_rows_that_meet_above_four_are_split_by_nobody(meeting: OnnxModel) -> None:
    for allowed in (False, True):
        with pytest.raises(InvalidRequest, match="influence one another"):
            creation.create_run(asking(meeting, strategy="data", allow_unproved_split=allowed))


def test_auto_splits_a_batch_only_where_that_is_proved_or_allowed(
    tried: OnnxModel, meeting: OnnxModel
) -> None:
    for model in (tried, meeting):
        for browser in ("a", "b"):
            slow = {model.sha256: LiveModel("wasm", model.file_bytes, 200.0, 25.0)}
            publish(browser, loaded=slow)
        decision = auto.decide(model, snapshot(), rows=8)
        assert (decision.strategy, decision.data_parallel) == ("none", 1)
        allowed = auto.decide(model, snapshot(), rows=8, allow_unproved_split=True)
        assert allowed.strategy == ("data" if model == tried else "none")
    considered = auto.decide(tried, snapshot(), rows=8).explanation["considered"]
    reasons = {way["strategy"]: way["reason"] for way in considered}
    assert "tried with 7 sizes, not proved" in reasons["data"]


@pytest.mark.parametrize("name", ["tried", "meeting"])
def test_items_of_a_job_do_not_share_a_run_and_the_report_says_why(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model: OnnxModel = request.getfixturevalue(name)
    job = batch_job(model, tmp_path, 6)
    assert (job.batch_count, job.batch_size) == (6, 1)
    together = report.together(job)
    assert not together.joined
    assert "each item is a run of its own" in together.reason
    alone = np.concatenate([right_answer(model, row[None]) for row in rows(6)])
    np.testing.assert_array_equal(answers(job, tmp_path).reshape(6, 4), alone)


def test_items_of_a_job_share_runs_where_that_is_allowed(tried: OnnxModel, tmp_path: Path) -> None:
    job = batch_job(tried, tmp_path, 6, options={"allow_unproved_split": True})
    assert (job.batch_count, job.batch_size) == (2, 3)
    assert report.together(job).joined
    assert "tried with batches of" in report.together(job).reason
    np.testing.assert_allclose(answers(job, tmp_path), np.tanh(rows(6)), rtol=1e-6)


def test_a_job_whose_runs_would_split_batches_is_refused_before_it_starts(
    tried: OnnxModel, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest, match=REFUSED):
        batch_job(tried, tmp_path, 6, options={"strategy": "data", "shards": 2})
    assert not BatchJob.objects.exists()


def test_the_plan_command_refuses_and_shows_the_verdict(tried: OnnxModel) -> None:
    with pytest.raises(Exception, match="allow_unproved_split"):
        call_command("plan", "late", "--strategy", "data")
    out = StringIO()
    call_command("plan", "late", "--strategy", "data", "--allow-unproved-split", stdout=out)
    assert "splitting a batch by rows: tried with batches of 2, 3, 5, 8" in out.getvalue()


def test_a_split_says_what_it_rests_on(clean: None) -> None:
    run = make_run("data", 2)
    assert run_metrics(run)["batch_split"] == "proved"
    run.model.batch_axis = BatchAxis(Verdict.TRIED, ("t0",), "why", (2, 3)).to_json()
    assert run_metrics(run)["batch_split"] == "tried"
    assert run_metrics(make_run("layer", 2))["batch_split"] is None


def batch_job(model: OnnxModel, folder: Path, count: int, **options: Any) -> BatchJob:
    source = write_jsonl(folder / "items.jsonl", rows(count))
    job, _ = jobs.create_job(
        jobs.JobRequest(model=model.name, source=source, batch_size=3, **options)
    )
    return job


def answers(job: BatchJob, folder: Path) -> np.ndarray[Any, Any]:
    """What the job's items became, computed as workers would."""
    for _ in range(20):
        engine.advance(job.pk, timezone.now())
        job.refresh_from_db()
        if job.state != JobState.RUNNING:
            break
        compute(job)
    path = folder / "out.jsonl"
    results.write_output(job, path, "jsonl")
    return np.array([json.loads(line)["y"] for line in path.read_text().splitlines()])
