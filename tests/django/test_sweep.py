"""What the sweep finds, against a real database and a real Valkey; the test plays the workers' part."""

from __future__ import annotations

import time
from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone

from browsers.models import Browser, BrowserState
from browsers.redis import client
from inference.ledger import claims, joins, results, sweep
from inference.ledger.attempts import AttemptFacts
from inference.models import Outcome, Run, RunState, RunStep, StepState
from inference.store import tensors, wakeups
from tests.support import workers
from tests.support.ledger import make_run, publish

pytestmark = pytest.mark.usefixtures("clean")
LATER = timedelta(seconds=5)  # after which a message is taken for lost


def claimed(run: Run, index: int) -> RunStep:
    row = run.shards.get(index=index)
    shard = claims.claim(row.pk, row.fence, timezone.now())
    assert shard is not None
    return shard


def compute(shard: RunStep, name: str, rows: np.ndarray) -> None:
    refs = tensors.store(shard.run_id, [tensors.encode_array(name, rows)])
    facts = AttemptFacts(shard.browser, timezone.now())
    assert results.record_success(shard, {name: refs[0]}, facts)


def joined(run: Run, index: int) -> bool:
    join = run.shards.get(index=index)
    return joins.execute(join.pk, join.fence)


def test_parts_that_cannot_be_joined_fail_their_run() -> None:
    publish("a")
    run = make_run("data", 2)
    compute(claimed(run, 0), "t1", np.zeros((1, 2), np.float32))
    compute(claimed(run, 1), "t1", np.zeros((1, 3), np.float32))
    assert not joined(run, 2)
    run.refresh_from_db()
    assert run.state == RunState.FAILED
    assert "cannot be joined" in run.error


def test_parts_that_have_expired_fail_their_run() -> None:
    publish("a")
    run = make_run("data", 2)
    for index in (0, 1):
        compute(claimed(run, index), "t1", np.zeros(1, np.float32))
    client().delete(*client().keys("webpool:tensor:*"))
    assert not joined(run, 2)
    run.refresh_from_db()
    assert (run.state, run.error_category) == (RunState.FAILED, "tensor_lost")


def test_a_shard_that_its_idle_worker_no_longer_computes_is_taken() -> None:
    publish("a", idle_since=time.time() - 1)
    run = make_run()
    claimed(run, 0)
    sweep.sweep(timezone.now())
    assert run.shards.get(index=0).state == StepState.RUNNING, "claimed after it became idle"
    publish("a", idle_since=time.time())
    publish("b")
    sweep.sweep(timezone.now())
    row = run.shards.get(index=0)
    assert row.state == StepState.QUEUED
    assert [attempt.outcome for attempt in row.attempt_rows.all()] == [Outcome.LOST]


def test_where_messages_are_missing_the_last_in_line_is_sent_again() -> None:
    publish("a")
    lost, _, later = (make_run(shards=1) for _ in range(3))
    for run in (lost, later):
        workers.send_first(run)
    client().rpop("browser.a")
    client().rpush("browser.a", "one that is not read yet")
    sweep.sweep(timezone.now() + LATER)
    assert later.shards.get().fence > 1
    assert [row.fence for row in RunStep.objects.exclude(run=later)] == [1, 1]
    assert client().llen("browser.a") == 3
    sweep.sweep(timezone.now() + LATER)
    assert client().llen("browser.a") == 3


def test_a_worker_that_computes_may_hold_a_message_in_its_hands() -> None:
    publish("a")
    computing, waiting = (make_run(shards=1) for _ in range(2))
    claimed(computing, 0)
    sweep.sweep(timezone.now() + LATER)
    assert waiting.shards.get().fence == 1
    compute(RunStep.objects.get(run=computing), "t1", np.zeros(1, np.float32))
    sweep.sweep(timezone.now() + LATER)
    assert waiting.shards.get().fence > 1


def test_a_run_that_ended_without_a_word_is_signalled_with_its_browsers_death() -> None:
    publish("a")
    run = make_run(shards=1)
    compute(claimed(run, 0), "t1", np.zeros(1, np.float32))
    client().delete(f"webpool:done:{run.pk}")  # as if the worker had died after its commit
    assert not wakeups.wait(run.pk, 0.05)
    results.owner_died("a", "killed")
    assert wakeups.wait(run.pk, 1.0)


def test_a_shard_pinned_to_a_browser_that_is_down_waits_and_says_so_at_its_deadline() -> None:
    publish("a")
    publish("b")
    run = make_run(shards=1, pins={"0": "a"})
    Browser.objects.create(id="a", kind="a", family="a", state=BrowserState.READY)
    client().delete("webpool:browser:a")
    results.owner_died("a", "killed")
    fence = run.shards.get(index=0).fence
    for _ in range(2):
        sweep.sweep(timezone.now())
    row = run.shards.get(index=0)
    assert (row.state, row.fence) == (StepState.READY, fence), "waiting writes nothing"
    sweep.sweep(timezone.now() + timedelta(seconds=61))
    run.refresh_from_db()
    assert (run.state, run.error_category) == (RunState.FAILED, "no_browser")
    assert "a: it is down" in run.error


def test_a_shard_pinned_to_a_browser_that_was_stopped_for_good_fails_at_once() -> None:
    publish("a")
    publish("b")
    run = make_run(shards=1, pins={"0": "a"})
    Browser.objects.create(
        id="a", kind="a", family="a", state=BrowserState.STOPPED,
        state_changed_at=timezone.now() - timedelta(minutes=5),
    )  # fmt: skip
    client().delete("webpool:browser:a")
    results.owner_died("a", "killed")
    run.refresh_from_db()
    assert (run.state, run.error_category) == (RunState.FAILED, "no_browser")


def test_a_join_that_waits_although_its_parts_are_done_is_sent() -> None:
    publish("a")
    run = make_run("data", 2)
    for index in (0, 1):
        compute(claimed(run, index), "t1", np.zeros(1, np.float32))
    client().delete("control")
    RunStep.objects.filter(run=run, index=2).update(state=StepState.WAITING, fence=0)
    sweep.sweep(timezone.now())
    assert run.shards.get(index=2).state == StepState.WAITING, (
        "its last part may be about to send it"
    )
    sweep.sweep(timezone.now() + timedelta(seconds=5))
    assert (run.shards.get(index=2).state, client().llen("control")) == (StepState.QUEUED, 1)
    assert joined(run, 2)
    run.refresh_from_db()
    assert run.state == RunState.SUCCEEDED


def test_a_run_whose_steps_are_all_done_is_ended() -> None:
    publish("a")
    run = make_run(shards=2)
    for index, name in enumerate(("t1", "t2")):
        compute(claimed(run, index), name, np.zeros(1, np.float32))
    Run.objects.filter(pk=run.pk).update(state=RunState.RUNNING, outputs={}, finished_at=None)
    sweep.sweep(timezone.now() + timedelta(seconds=5))
    run.refresh_from_db()
    assert (run.state, list(run.outputs)) == (RunState.SUCCEEDED, ["t2"])


def test_a_run_that_computes_is_left_alone() -> None:
    publish("a")
    run = make_run(shards=3)
    compute(claimed(run, 0), "t1", np.zeros(1, np.float32))
    claimed(run, 1)
    before = list(run.shards.values())
    sweep.sweep(timezone.now() + timedelta(seconds=5))
    assert list(run.shards.values()) == before
