"""What comes after a run's deadline, with a real database and a real Valkey; the test plays the workers."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from browsers.core.failures import Category
from browsers.redis import client
from browsers.state import live
from inference.catalog import registry
from inference.errors import RunFailed
from inference.ledger import claims, deadlines, joins, results, sweep, verification
from inference.ledger.attempts import AttemptFacts
from inference.models import Attempt, OnnxModel, Outcome, Run, RunState, RunStep
from inference.runs import creation, serving
from inference.runs.answers import collect, wait_run
from inference.store import tensors, wakeups
from inference.views.open_inference import open_inference
from inference.zoo.micro import chain
from tests.support.callers import question
from tests.support.ledger import make_run, publish

pytestmark = pytest.mark.usefixtures("clean")
SOON = timedelta(seconds=1.5)


def claimed(run: Run, index: int) -> RunStep:
    row = run.shards.get(index=index)
    shard = claims.claim(row.pk, row.fence, timezone.now())
    assert shard is not None
    return shard


def facts(shard: RunStep) -> AttemptFacts:
    return AttemptFacts(shard.browser, timezone.now(), backend="wasm")


def stored(shard: RunStep, name: str, value: float = 1.0) -> tensors.TensorRef:
    array = np.array([value], np.float32)
    return tensors.store(shard.run_id, [tensors.encode_array(name, array)])[0]


def compute(shard: RunStep, name: str) -> bool:
    return results.record_success(shard, {name: stored(shard, name)}, facts(shard))


def until_late(run: Run) -> None:
    time.sleep(max(0.0, deadlines.left_s(run)))


def assert_late(run: Run) -> None:
    """The run has failed at its deadline, whoever waits is told, and nothing of it is left to do."""
    run.refresh_from_db()
    assert (run.state, run.error_category, run.outputs) == (RunState.FAILED, "timeout", {})
    assert run.finished_at is not None and run.finished_at >= run.deadline_at
    assert f"by the deadline ({run.deadline_at.isoformat(timespec='milliseconds')})" in run.error
    told = wakeups.wait(run.pk, 1.0)
    assert told is not None and told.ending.state == RunState.FAILED
    assert not run.shards.filter(state__in=["waiting", "ready", "queued", "running"]).exists()
    assert not client().keys(f"webpool:tensor:{run.pk}:*")


# --- claiming ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "taken"),
    [(timedelta(microseconds=1), True), (timedelta(0), False), (-timedelta(seconds=1), False)],
)
@pytest.mark.parametrize("fraction", [0, 1, 500_000])
def test_a_step_is_claimed_before_the_deadline_only(
    before: timedelta, taken: bool, fraction: int
) -> None:
    publish("a")
    deadline_at = (timezone.now() + timedelta(seconds=60)).replace(microsecond=fraction)
    row = make_run(deadline_at=deadline_at).shards.get(index=0)
    assert (claims.claim(row.pk, row.fence, deadline_at - before) is not None) is taken
    row.refresh_from_db()
    assert (row.state, row.attempts) == (("running", 1) if taken else ("queued", 0))


# --- recording ---------------------------------------------------------------------


def test_a_last_result_after_the_deadline_fails_the_run_and_is_superseded() -> None:
    publish("a")
    run = make_run(shards=1, deadline_at=timezone.now() + SOON)
    shard = claimed(run, 0)
    until_late(run)
    assert not compute(shard, "t1")
    assert_late(run)
    assert Attempt.objects.get(shard=shard).outcome == Outcome.SUPERSEDED


def test_a_result_just_before_the_deadline_counts_for_good() -> None:
    publish("a")
    run = make_run(shards=1, deadline_at=timezone.now() + SOON)
    assert compute(claimed(run, 0), "t1")
    until_late(run)
    sweep.sweep(timezone.now())
    ended = wait_run(run)
    assert ended.state == RunState.SUCCEEDED
    assert ended.finished_at is not None and ended.finished_at < ended.deadline_at
    assert len(collect(ended)) == 1


def test_an_earlier_shards_result_after_the_deadline_sends_nothing() -> None:
    publish("a")
    run = make_run(deadline_at=timezone.now() + SOON)
    shard = claimed(run, 0)
    client().delete("browser.a")
    until_late(run)
    assert not compute(shard, "t1")
    assert_late(run)
    assert client().llen("browser.a") == 0


def test_a_failure_after_the_deadline_is_recorded_and_not_tried_again() -> None:
    publish("a")
    publish("b")
    run = make_run(deadline_at=timezone.now() + SOON)
    shard = claimed(run, 0)
    client().delete("browser.a", "browser.b")
    until_late(run)
    results.record_failure(shard, Category.BROWSER_CRASH, "it died", facts(shard))
    assert_late(run)
    attempt = Attempt.objects.get(shard=shard)
    assert (attempt.outcome, attempt.error_category) == (Outcome.FAILED, "browser_crash")
    assert client().llen("browser.a") == client().llen("browser.b") == 0


def test_an_odd_answer_after_the_deadline_is_not_confirmed_by_another_browser() -> None:
    publish("a")
    publish("b")
    run = make_run(shards=1, deadline_at=timezone.now() + SOON)
    shard = claimed(run, 0)
    until_late(run)
    zero = tensors.encode_array("t1", np.zeros(1, np.float32))
    refs = tensors.store(run.pk, [zero])
    odd = verification.oddities(shard, [zero])
    verification.settle(shard, [zero], refs, odd, facts(shard), results.Glance(shard))
    assert_late(run)
    assert Attempt.objects.get(shard=shard).outcome == Outcome.SUPERSEDED


# --- joining ---------------------------------------------------------------------


def parts_done(run: Run) -> None:
    for index in (0, 1):
        assert compute(claimed(run, index), "t1")


def test_a_join_that_comes_after_the_deadline_is_not_done() -> None:
    publish("a")
    run = make_run("data", 2, deadline_at=timezone.now() + SOON)
    parts_done(run)
    join = run.shards.get(index=2)
    until_late(run)
    assert not joins.execute(join.pk, join.fence)
    assert run.shards.get(index=2).attempts == 0
    sweep.sweep(timezone.now())
    assert_late(run)


def test_a_join_that_is_ready_after_the_deadline_completes_nothing() -> None:
    publish("a")
    run = make_run("data", 2, deadline_at=timezone.now() + SOON)
    parts_done(run)
    join = claimed(run, 2)
    ref = stored(join, "t1")
    until_late(run)
    assert not results.record_join(join, {"t1": ref})
    assert_late(run)


# --- the sweep ---------------------------------------------------------------------


def test_work_of_a_late_run_is_freed_and_not_sent_to_another_browser() -> None:
    publish("a")
    run = make_run(deadline_at=timezone.now() + timedelta(seconds=60))
    Run.objects.filter(pk=run.pk).update(deadline_at=timezone.now())
    live.withdraw("a")
    publish("b")
    sweep.sweep(timezone.now())
    assert_late(run)
    assert client().llen("browser.b") == 0


# --- who waits ---------------------------------------------------------------------


def test_whoever_waits_is_told_at_the_deadline_though_no_other_process_lives() -> None:
    publish("a")
    run = make_run(deadline_at=timezone.now() + SOON)
    began = time.monotonic()
    ended = wait_run(run)
    assert time.monotonic() - began < SOON.total_seconds() + 2
    assert_late(run)
    with pytest.raises(RunFailed, match="no answer by the deadline") as caught:
        collect(ended)
    assert (caught.value.status, caught.value.category) == (504, "timeout")


def test_whoever_waits_is_told_that_no_browser_could_take_it() -> None:
    publish("a")
    run = make_run(deadline_at=timezone.now() + SOON)
    live.withdraw("a")
    results.owner_died("a", "killed")
    ended = wait_run(run)
    assert (ended.state, ended.error_category) == (RunState.FAILED, "no_browser")


def test_a_waiter_that_notices_the_deadline_late_hears_what_had_been_decided_by_then() -> None:
    publish("a")
    run = make_run(shards=1, deadline_at=timezone.now() + SOON)
    assert compute(claimed(run, 0), "t1")
    client().delete(f"webpool:done:{run.pk}")  # as if its recorder had died after the commit
    until_late(run)
    assert wait_run(run).state == RunState.SUCCEEDED


# --- the doors ---------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Iterator[OnnxModel]:
    made = registry.add_model(
        chain(tmp_path / "chain.onnx"), name=f"deadline-{uuid.uuid4().hex[:8]}"
    )
    yield made
    Run.objects.filter(model=made).delete()
    made.delete()


def asked(model: OnnxModel, deadline_s: float) -> creation.RunRequest:
    inputs = [tensors.encode_array("x", question(0))]
    return creation.RunRequest(model=model.name, inputs=inputs, deadline_s=deadline_s)


def post(path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """What the /v2 application answers to a caller on this machine."""
    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"", "scheme": "http",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1), "server": None,
    }  # fmt: skip
    sent: list[Any] = []

    async def call() -> None:
        incoming: asyncio.Queue[Any] = asyncio.Queue()  # empty: the caller waits
        incoming.put_nowait({"type": "http.request", "body": body})

        async def send(message: Any) -> None:
            sent.append(message)

        await open_inference(scope, incoming.get, send)

    asyncio.run(call())
    return sent[0]["status"], json.loads(sent[1]["body"])


def infer_body(timeout: str) -> bytes:
    x = question(0)
    tensor = {"name": "x", "datatype": "FP32", "shape": x.shape, "data": x.ravel().tolist()}
    return f'{{"inputs": [{json.dumps(tensor)}], "parameters": {{"timeout": {timeout}}}}}'.encode()


def test_a_v2_timeout_that_passes_is_504_in_bounded_time(model: OnnxModel) -> None:
    publish("a")
    began = time.monotonic()
    status, document = post(f"/v2/models/{model.name}/infer", infer_body("1500000"))
    assert 1.4 < time.monotonic() - began < 20, "at the deadline, and without any other process"
    assert (status, document["category"]) == (504, "timeout")
    run = Run.objects.get(pk=document["run"])
    assert run.deadline_at - run.created_at <= timedelta(seconds=1.5)
    assert_late(run)


def test_a_v2_timeout_of_a_microsecond_sends_nothing(model: OnnxModel) -> None:
    publish("a")
    status, document = post(f"/v2/models/{model.name}/infer", infer_body("1"))
    assert (status, document["category"]) == (504, "timeout")
    assert client().llen("browser.a") == 0
    assert_late(Run.objects.get(pk=document["run"]))


NO_TIMEOUTS = ["0", "-1", "1.5", "1e400", "-1e400", "9" * 400, "9" * 5000, "true", '"1000"', "NaN"]


@pytest.mark.parametrize("timeout", NO_TIMEOUTS, ids=[text[:9] for text in NO_TIMEOUTS])
def test_a_v2_timeout_that_is_none_is_400_and_stores_nothing(
    model: OnnxModel, timeout: str
) -> None:
    publish("a")
    status, document = post(f"/v2/models/{model.name}/infer", infer_body(timeout))
    assert (status, document["category"]) == (400, "invalid_input")
    assert "expected" in document["error"]
    assert not Run.objects.filter(model=model).exists()


NO_DEADLINES = ["0", "-1", "1e400", "9" * 400, "9" * 5000, "true", '"60"', "NaN", "[1]", "450.5"]


@pytest.mark.parametrize("deadline", NO_DEADLINES, ids=[text[:9] for text in NO_DEADLINES])
def test_a_deadline_over_rest_that_is_none_is_400_and_stores_nothing(
    model: OnnxModel, deadline: str
) -> None:
    publish("a")
    body = f'{{"model": "{model.name}", "inputs": {{"x": [[0]]}}, "deadline_s": {deadline}}}'
    answer = Client(headers={"host": "localhost"}).post("/api/runs/", body, "application/json")
    assert (answer.status_code, answer.json()["category"]) == (400, "invalid_input")
    assert not Run.objects.filter(model=model).exists()


def test_a_run_over_rest_whose_deadline_has_passed_is_answered_as_failed(model: OnnxModel) -> None:
    publish("a")
    inputs = {"x": question(0).tolist()}
    given = json.dumps({"model": model.name, "inputs": inputs, "deadline_s": 1e-6})
    visitor = Client(headers={"host": "localhost"})
    answer = visitor.post("/api/runs/", given, "application/json")
    assert (answer.status_code, answer.json()["state"]) == (202, "failed")
    outputs = visitor.get(f"/api/runs/{answer.json()['id']}/outputs/")
    assert (outputs.status_code, outputs.json()["category"]) == (504, "timeout")


def test_a_python_caller_is_told_at_the_deadline(model: OnnxModel) -> None:
    publish("a")
    request = asked(model, 1.5)
    began = time.monotonic()
    with pytest.raises(RunFailed) as caught:
        asyncio.run(serving.run_to_end(lambda: creation.create_run(request), collect))
    assert time.monotonic() - began < 20
    assert caught.value.category == "timeout"
    assert_late(Run.objects.get(pk=caught.value.run_id))


@pytest.mark.parametrize("deadline_s", ["nan", "inf", "1e400", "-1", "0"])
def test_a_batch_job_whose_runs_have_no_deadline_is_refused_when_it_is_made(
    model: OnnxModel, tmp_path: Path, deadline_s: str
) -> None:
    publish("a")
    source = tmp_path / "items.jsonl"
    source.write_text(json.dumps({"x": question(0)[0].tolist()}) + "\n")
    with source.open("rb") as file:
        answer = Client(headers={"host": "localhost"}).post(
            "/api/batches/", {"model": model.name, "file": file, "deadline_s": deadline_s}
        )
    assert answer.status_code == 400, answer.content
    assert "deadline_s" in answer.json()["error"]


@pytest.mark.parametrize("deadline", ["nan", "inf", "-1", "0", "9" * 400])
def test_the_command_refuses_a_deadline_that_is_none(
    model: OnnxModel, tmp_path: Path, deadline: str
) -> None:
    np.savez(tmp_path / "x.npz", x=question(0))
    words = ["infer", model.name, "--input", str(tmp_path / "x.npz"), f"--deadline={deadline}"]
    with pytest.raises(CommandError, match="deadline_s: expected a number of seconds") as caught:
        call_command(*words)
    assert caught.value.returncode == 2
    assert not Run.objects.filter(model=model).exists()
