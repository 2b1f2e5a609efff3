"""The ledger against a real database and a real Valkey; the test plays the workers' part."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from django.conf import settings
from django.utils import timezone

from browsers.core.failures import Category
from browsers.redis import client
from browsers.state import live
from inference.ledger import claims, endings, joins, results, sweep
from inference.ledger.attempts import AttemptFacts
from inference.models import Attempt, Outcome, Run, RunState, RunStep, StepState
from inference.store import tensors, wakeups
from tests.support.ledger import make_run, publish

pytestmark = pytest.mark.usefixtures("clean")


def claimed(run: Run, index: int) -> RunStep:
    row = run.shards.get(index=index)
    shard = claims.claim(row.pk, row.fence, timezone.now())
    assert shard is not None
    return shard


def facts(shard: RunStep) -> AttemptFacts:
    return AttemptFacts(shard.browser, timezone.now())


def compute(shard: RunStep, name: str, value: float = 1.0) -> bool:
    tensor = tensors.encode_array(name, np.array([value], np.float32))
    refs = tensors.store(shard.run_id, [tensor])
    return results.record_success(shard, {name: refs[0]}, facts(shard))


def test_a_shard_is_claimed_once_and_only_under_its_fence() -> None:
    publish("a")
    row = make_run().shards.get(index=0)
    assert claims.claim(row.pk, row.fence + 1, timezone.now()) is None
    assert claims.claim(row.pk, row.fence, timezone.now()) is not None
    assert claims.claim(row.pk, row.fence, timezone.now()) is None


def test_a_result_makes_the_next_shard_ready_and_chooses_its_browser_then() -> None:
    publish("a")
    run = make_run()
    first = claimed(run, 0)
    publish("b")
    assert run.shards.get(index=1).state == StepState.WAITING
    compute(first, "t1")
    second = run.shards.get(index=1)
    assert (second.state, second.browser) == (StepState.QUEUED, "b")
    assert client().llen("browser.b") == 1


def test_the_last_result_completes_the_run_and_wakes_who_waits() -> None:
    publish("a")
    run = make_run()
    compute(claimed(run, 0), "t1")
    compute(claimed(run, 1), "t2", 7.0)
    run.refresh_from_db()
    assert run.state == RunState.SUCCEEDED
    assert wakeups.wait(run.pk, 1.0)
    ref = tensors.TensorRef.from_json(run.outputs["t2"])
    assert tensors.decode_array(tensors.fetch([("t2", ref)])[0]).tolist() == [7.0]


def test_intermediate_tensors_are_dropped_when_the_run_ends() -> None:
    publish("a")
    run = make_run()
    compute(claimed(run, 0), "t1")
    compute(claimed(run, 1), "t2")
    assert len(list(client().scan_iter(f"webpool:tensor:{run.pk}:*"))) == 1


def test_a_dead_worker_loses_its_shards_at_once_and_its_late_result_changes_nothing() -> None:
    publish("a")
    run = make_run()
    late = claimed(run, 0)
    live.withdraw("a")
    publish("b")
    assert results.owner_died("a", "killed") == 1
    again = claimed(run, 0)
    assert again.browser == "b"
    assert not compute(late, "t1", 1.0)
    assert compute(again, "t1", 2.0)
    outcomes = list(Attempt.objects.filter(shard__run=run).values_list("outcome", flat=True))
    assert outcomes == [Outcome.LOST, Outcome.SUPERSEDED, Outcome.SUCCEEDED]
    assert run.shards.get(index=0).attempts == 2


def test_queued_shards_of_a_dead_worker_move_without_costing_an_attempt() -> None:
    publish("a")
    run = make_run()
    live.withdraw("a")
    publish("b")
    assert results.owner_died("a", "killed") == 1
    row = run.shards.get(index=0)
    assert (row.state, row.browser, row.attempts) == (StepState.QUEUED, "b", 0)


def test_without_a_browser_a_shard_waits_and_the_sweep_places_it_later() -> None:
    publish("a")
    run = make_run()
    live.withdraw("a")
    results.owner_died("a", "killed")
    assert run.shards.get(index=0).state == StepState.READY
    publish("c")
    sweep.sweep(timezone.now())
    assert run.shards.get(index=0).browser == "c"


def test_attempts_end_at_max_retries_with_the_reason() -> None:
    publish("a")
    run = make_run(max_retries=1)
    results.record_failure(shard := claimed(run, 0), Category.BROWSER_CRASH, "first", facts(shard))
    results.record_failure(shard := claimed(run, 0), Category.BROWSER_CRASH, "second", facts(shard))
    run.refresh_from_db()
    assert (run.state, run.error_category) == (RunState.FAILED, "browser_crash")
    assert "second" in run.error and "gave up after 2 attempts" in run.error
    assert set(run.shards.values_list("state", flat=True)) == {"failed", "cancelled"}


def test_bad_input_is_not_retried() -> None:
    publish("a")
    run = make_run()
    results.record_failure(shard := claimed(run, 0), Category.INVALID_INPUT, "rank 3", facts(shard))
    run.refresh_from_db()
    assert (run.state, run.shards.get(index=0).attempts) == (RunState.FAILED, 1)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            str(FileNotFoundError(2, "No such file or directory", "/usr/share/secret/m.onnx")),
            "[Errno 2] No such file or directory: '…/m.onnx'",
        ),
        (
            "Message: unknown error: no chrome binary at /opt/chrome/chrome\n#0 /lib/x86/libc.so.6+3",
            "Message: unknown error: no chrome binary at …/chrome\n#0 …/libc.so.6+3",
        ),
        (
            "running MatMul node. Name:'/encoder/layer.0/MatMul' /mnt/_work/core/graph/model.cc:203 Model",
            "running MatMul node. Name:'/encoder/layer.0/MatMul' …/model.cc:203 Model",
        ),
        ("HOME/files/ab is damaged", "WEBPOOL_HOME/files/ab is damaged"),
        ("the page http://127.0.0.1:8123/usr/engine.js ended", None),
    ],
    ids=["system", "driver", "onnxruntime", "home", "page"],
)
def test_a_runs_error_names_no_path_of_the_server(said: str, told: str | None) -> None:
    publish("a")
    run = make_run()
    said = said.replace("HOME", str(settings.WEBPOOL_HOME))
    results.record_failure(shard := claimed(run, 0), Category.INVALID_INPUT, said, facts(shard))
    run.refresh_from_db()
    wanted = told or said
    assert run.error.startswith(f"shard 0 on a: {wanted} (")
    assert Attempt.objects.get(shard=shard).error == wanted


def test_a_browser_that_cannot_run_it_is_the_end_when_there_is_no_other() -> None:
    publish("a")
    run = make_run()
    shard = claimed(run, 0)
    results.record_failure(shard, Category.UNSUPPORTED_OPERATION, "no kernel", facts(shard))
    run.refresh_from_db()
    assert (run.state, run.error_category) == (RunState.FAILED, "no_browser")
    assert "unsupported_operation" in run.error


def test_a_lost_message_is_sent_again_once_its_browser_is_idle() -> None:
    publish("a")
    run = make_run()
    client().delete("browser.a")
    sweep.sweep(timezone.now())
    assert client().llen("browser.a") == 0
    sweep.sweep(timezone.now() + timedelta(seconds=5))
    assert client().llen("browser.a") == 1
    assert run.shards.get(index=0).fence > 1


def test_a_run_past_its_deadline_fails_and_says_so() -> None:
    publish("a")
    run = make_run()
    sweep.sweep(timezone.now() + timedelta(seconds=61))
    run.refresh_from_db()
    assert (run.state, run.error_category) == (RunState.FAILED, "timeout")
    assert wakeups.wait(run.pk, 1.0)


def joined(run: Run, index: int) -> bool:
    join = run.shards.get(index=index)
    return joins.execute(join.pk, join.fence)


def test_parts_of_a_batch_are_joined_in_order_and_once() -> None:
    publish("a")
    publish("b")
    run = make_run("data", 3)
    for index in (2, 0, 1):
        assert not joined(run, 3)
        compute(claimed(run, index), "t1", float(index))
    assert client().llen("control") == 0  # the chord's body comes by itself
    assert joined(run, 3)
    assert not joined(run, 3)
    run.refresh_from_db()
    ref = tensors.TensorRef.from_json(run.outputs["t1"])
    assert tensors.decode_array(tensors.fetch([("t1", ref)])[0]).tolist() == [0.0, 1.0, 2.0]


def test_a_join_whose_chord_lost_a_member_is_sent_by_the_last_result() -> None:
    publish("a")
    publish("b")
    run = make_run("data", 2)
    assert results.lose(claimed(run, 0), Category.BROWSER_CRASH, "killed")
    for index in (0, 1):
        compute(claimed(run, index), "t1")
    assert client().llen("control") == 1
    assert joined(run, 2)


def test_a_join_whose_message_was_lost_is_sent_again_by_the_sweep() -> None:
    publish("a")
    run = make_run("data", 2)
    for index in (0, 1):
        compute(claimed(run, index), "t1")
    sweep.sweep(timezone.now())
    assert client().llen("control") == 0
    sweep.sweep(timezone.now() + timedelta(seconds=5))
    assert client().llen("control") == 1
    assert joined(run, 2)
    run.refresh_from_db()
    assert run.state == RunState.SUCCEEDED


def test_a_join_whose_worker_died_is_done_again_and_the_late_one_changes_nothing() -> None:
    publish("a")
    run = make_run("data", 2)
    for index in (0, 1):
        compute(claimed(run, index), "t1")
    late = claimed(run, 2)
    sweep.restart_joins()
    assert not results.record_join(late, {})
    assert joined(run, 2)
    run.refresh_from_db()
    assert run.state == RunState.SUCCEEDED


def test_cancelling_ends_a_run_and_frees_its_tensors() -> None:
    publish("a")
    run = make_run()
    compute(claimed(run, 0), "t1")
    assert endings.cancel(run.pk, "the caller went away")
    assert not endings.cancel(run.pk, "again")
    assert not list(client().scan_iter(f"webpool:tensor:{run.pk}:*"))
    row = run.shards.get(index=1)
    assert claims.claim(row.pk, row.fence - 1, timezone.now()) is None


def test_the_shards_of_a_critical_run_go_to_different_families_and_zones() -> None:
    for name, family, zone in (("a", "x", "here"), ("b", "x", "there"), ("c", "y", "here")):
        publish(name, family=family, zone=zone)
    run = make_run("data", 3, critical=True)
    placed = run.shards.filter(kind="compute").order_by("index").values_list("browser", flat=True)
    assert list(placed) == ["a", "c", "b"]
    assert Run.objects.get(pk=run.pk).critical
    taken = claimed(run, 0)
    assert taken.run.critical  # as workers read it
