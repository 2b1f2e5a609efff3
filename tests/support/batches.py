"""A batch job in the tests' own ledger, and a worker's part in it, played with onnxruntime."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from django.utils import timezone

from browsers.core.failures import Category
from inference.batches import engine, jobs, storage
from inference.batches import results as job_results
from inference.catalog import registry
from inference.ledger import claims, results
from inference.ledger.attempts import AttemptFacts
from inference.models import Attempt, OnnxModel, Outcome, RunState, RunStep, StepState
from inference.models.batches import BatchJob, JobState
from inference.store import tensors
from inference.store.files import path_of
from inference.zoo import micro


def chain_model(folder: Path, name: str) -> OnnxModel:
    return registry.add_model(micro.chain(folder / "chain.onnx", layers=2, size=4), name=name)


def rows(count: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal((count, 4)).astype(np.float32)


def right_answer(model: OnnxModel, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path_of(model.sha256).read_bytes())
    answer: np.ndarray = session.run(None, {"x": x})[0]
    return answer


def write_jsonl(path: Path, x: np.ndarray) -> Path:
    path.write_text("".join(json.dumps({"x": row.tolist()}) + "\n" for row in x))
    return path


def new_job(model: OnnxModel, folder: Path, count: int = 10, **options: Any) -> BatchJob:
    """A job of `count` rows in batches of two."""
    source = write_jsonl(folder / f"in-{count}.jsonl", rows(count))
    job, _ = jobs.create_job(
        jobs.JobRequest(model=model.name, source=source, **{"batch_size": 2, **options})
    )
    return job


def compute(job: BatchJob) -> int:
    """Do what a browser's worker does with every queued shard of the job; returns how many."""
    queued = list(of_job(job).filter(state=StepState.QUEUED, run__state=RunState.RUNNING))
    for row in queued:
        shard = claims.claim(row.pk, row.fence, timezone.now())
        assert shard is not None
        (x,) = tensors.fetch(claims.input_refs(shard))
        y = right_answer(job.model, tensors.decode_array(x))
        refs = tensors.store(shard.run_id, [tensors.encode_array("y", y)])
        assert results.record_success(shard, {"y": refs[0]}, _facts(shard))
    return len(queued)


def break_one(job: BatchJob, category: Category, message: str) -> None:
    """Fail the first queued shard of the job, as its worker would."""
    row = of_job(job).filter(state=StepState.QUEUED, run__state=RunState.RUNNING).first()
    assert row is not None
    shard = claims.claim(row.pk, row.fence, timezone.now())
    assert shard is not None
    results.fail_run(shard, category, message, _facts(shard))


def of_job(job: BatchJob) -> Any:
    """Shards of every run that was ever sent for the job."""
    return RunStep.objects.filter(run__owner__startswith=f"batch {job.pk}/").order_by("pk")


def succeeded_attempts(job: BatchJob) -> dict[str, int]:
    """Batch index → successful attempts, over all runs that were ever sent for it."""
    counts: dict[str, int] = {}
    rows = Attempt.objects.filter(shard__in=of_job(job), outcome=Outcome.SUCCEEDED)
    for owner in rows.values_list("shard__run__owner", flat=True):
        index = owner.partition("/")[2].partition("#")[0]
        counts[index] = counts.get(index, 0) + 1
    return counts


def _facts(shard: RunStep) -> AttemptFacts:
    return AttemptFacts(shard.browser, timezone.now())


def step(job: BatchJob, now: datetime | None = None) -> list[uuid.UUID]:
    flying = engine.advance(job.pk, now or timezone.now())
    job.refresh_from_db()
    return flying


def to_the_end(job: BatchJob) -> None:
    for _ in range(50):
        step(job)
        if job.state != JobState.RUNNING:
            return
        compute(job)
    raise AssertionError(f"the job did not end: {states(job)}")


def states(job: BatchJob) -> list[str]:
    return list(job.batches.values_list("state", flat=True))


def output(job: BatchJob, folder: Path, kind: str = "jsonl") -> Any:
    path = folder / f"out{job_results.EXTENSIONS[kind]}"
    job_results.write_output(job, path, kind)
    if kind == "npz":
        return storage.read_arrays(path)
    return [json.loads(line) for line in path.read_text().splitlines()]
