"""Shards that two browsers compute, of which the first answer counts; the test plays the workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from browsers.core.failures import Category
from browsers.models import Browser, DrainKind, Incident
from browsers.redis import client
from inference.catalog import registry
from inference.errors import InvalidRequest
from inference.ledger import claims, joins, redispatch, results, sweep, verification
from inference.ledger.attempts import AttemptFacts
from inference.models import Attempt, Outcome, Run, RunState, RunStep, StepState
from inference.runs import creation
from inference.runs.answers import collect
from inference.runs.metrics import run_metrics
from inference.runs.requests import RunRequest
from inference.scheduling.pool_view import snapshot
from inference.store import tensors
from tests.support import small_models
from tests.support.ledger import make_run, publish
from webpool_site.lab.faults.proof import prove

pytestmark = pytest.mark.usefixtures("clean")


def run_on(*browsers: str, strategy: str = "layer", shards: int = 1, **fields: Any) -> Run:
    for name in browsers:
        Browser.objects.create(pk=name, kind=name, family=name)
        publish(name)
    return make_run(strategy, shards, redundancy="first", **fields)


def claimed(run: Run, index: int, copy: int) -> RunStep:
    row = run.shards.get(index=index, copy=copy)
    shard = claims.claim(row.pk, row.fence, timezone.now())
    assert shard is not None, row.state
    return shard


def answer(shard: RunStep, name: str, value: float) -> bool:
    refs = tensors.store(shard.run_id, [tensors.encode_array(name, np.array([value], np.float32))])
    facts = AttemptFacts(shard.browser, timezone.now(), backend="webgpu")
    return results.record_success(shard, {name: refs[0]}, facts)


def fail(shard: RunStep, category: Category = Category.INTERNAL) -> None:
    facts = AttemptFacts(shard.browser, timezone.now(), backend="webgpu")
    results.record_failure(shard, category, "it broke", facts)


def states(run: Run) -> list[tuple[int, int, str, str]]:
    return list(run.shards.values_list("index", "copy", "state", "browser"))


def result(run: Run) -> list[float]:
    run.refresh_from_db()
    assert run.state == RunState.SUCCEEDED, run.error
    (wire,) = collect(run)
    values: list[float] = tensors.decode_array(wire).tolist()
    return values


@pytest.mark.parametrize("first", [0, 1])
def test_the_first_answer_counts_and_the_other_is_superseded(first: int) -> None:
    run = run_on("a", "b")
    both = [claimed(run, 0, copy) for copy in (0, 1)]
    assert {shard.browser for shard in both} == {"a", "b"}
    assert answer(both[first], "t1", 1.0)
    assert result(run) == [1.0]
    assert not answer(both[1 - first], "t1", 2.0), "too late"
    assert result(run) == [1.0]
    outcomes = dict(Attempt.objects.filter(shard__run=run).values_list("browser", "outcome"))
    assert outcomes == {
        both[first].browser: Outcome.SUCCEEDED,
        both[1 - first].browser: Outcome.SUPERSEDED,
    }
    assert len(client().keys(f"webpool:tensor:{run.pk}:*")) == 1, "the late answer was freed"
    proof = prove([run.pk])
    assert (proof.holds, proof.succeeded) == (True, 1)
    metrics = run_metrics(run)
    assert (metrics["component_count"], metrics["successful_components"]) == (1, 1)


def test_a_copy_that_waits_in_a_queue_is_called_off() -> None:
    run = run_on("a", "b")
    second = run.shards.get(index=0, copy=1)
    answer(claimed(run, 0, 0), "t1", 1.0)
    assert claims.claim(second.pk, second.fence, timezone.now()) is None
    assert run.shards.get(copy=1).state == StepState.CANCELLED


def test_each_step_of_a_chain_goes_on_with_whoever_was_first() -> None:
    run = run_on("a", "b", "c", shards=2)
    answer(claimed(run, 0, 1), "t1", 1.0)
    assert [state for _, _, state, _ in states(run)] == ["cancelled", "done", "queued", "queued"]
    second = [claimed(run, 1, copy) for copy in (0, 1)]
    assert len({shard.browser for shard in second}) == 2
    assert [name for name, _ in claims.input_refs(second[0])] == ["t1"]
    answer(second[0], "t2", 3.0)
    assert result(run) == [3.0]


def test_a_join_takes_the_answer_of_each_part() -> None:
    run = run_on("a", "b", "c", strategy="data", shards=2)
    answer(claimed(run, 0, 1), "t1", 1.0)
    answer(claimed(run, 1, 0), "t1", 2.0)
    join = run.shards.get(index=2)
    assert join.state == StepState.QUEUED
    joins.execute(join.pk, join.fence)
    assert result(run) == [1.0, 2.0]


def test_a_dead_browser_costs_nothing_while_the_other_copy_computes() -> None:
    run = run_on("a", "b")
    first, second = claimed(run, 0, 0), claimed(run, 0, 1)
    client().delete(f"webpool:browser:{first.browser}")
    results.owner_died(first.browser, "killed")
    lost = run.shards.get(copy=0)
    assert (lost.state, lost.browser) == (StepState.READY, ""), "never beside its copy"
    sweep.place_waiting()
    run.refresh_from_db()
    assert run.state == RunState.RUNNING
    answer(second, "t1", 1.0)
    assert result(run) == [1.0]
    assert run.shards.get(copy=0).state == StepState.CANCELLED


def test_one_copy_that_failed_for_good_does_not_end_the_run_but_both_do() -> None:
    run = run_on("a", "b", max_retries=0)
    first, second = claimed(run, 0, 0), claimed(run, 0, 1)
    fail(first)
    run.refresh_from_db()
    assert run.state == RunState.RUNNING
    assert run.shards.get(copy=0).state == StepState.FAILED
    fail(second)
    run.refresh_from_db()
    assert (run.state, run.error_category) == (RunState.FAILED, "internal")
    assert run_metrics(run)["failed_components"] == 1
    assert prove([run.pk]).open_shards == 0


@pytest.mark.parametrize(
    ("kind", "waits"), [(DrainKind.GIVEN_UP, True), (DrainKind.QUARANTINED, False)]
)
def test_a_second_browser_that_the_pool_quarantined_is_waited_for(
    kind: DrainKind, waits: bool
) -> None:
    Browser.objects.create(pk="b", kind="b", family="b", drain_kind=kind)
    run = run_on("a")
    none = redispatch.why_waiting(run.shards.get(copy=1), snapshot())
    assert none is not None
    assert none.lasting is not waits


def test_a_run_whose_two_browsers_both_cannot_fails_with_the_reasons() -> None:
    run = run_on("a", "b")
    for copy in (0, 1):
        fail(claimed(run, 0, copy), Category.UNSUPPORTED_OPERATION)
    while (row := run.shards.filter(state=StepState.QUEUED).first()) is not None:
        fail(claimed(run, 0, row.copy), Category.UNSUPPORTED_OPERATION)
    sweep.place_waiting()
    run.refresh_from_db()
    assert run.state == RunState.FAILED
    assert "unsupported_operation" in run.error


def settled(shard: RunStep, value: float) -> None:
    wires = [tensors.encode_array("t1", np.array([value], np.float32))]
    facts = AttemptFacts(shard.browser, timezone.now(), backend="webgpu")
    refs, odd = tensors.store(shard.run_id, wires), verification.oddities(shard, wires)
    verification.settle(shard, wires, refs, odd, facts, results.Glance(shard))


def blamed() -> list[str]:
    wrong = Incident.objects.filter(category="wrong_answer")
    return list(wrong.values_list("browser_id", flat=True))


def test_an_odd_answer_waits_for_the_other_copy() -> None:
    run = run_on("a", "b")
    first, second = claimed(run, 0, 0), claimed(run, 0, 1)
    settled(first, float("nan"))
    run.refresh_from_db()
    assert run.state == RunState.RUNNING
    settled(second, 2.0)
    assert result(run) == [2.0]
    assert blamed() == [first.browser]
    assert len(client().keys(f"webpool:tensor:{run.pk}:*")) == 1, "the odd answer was freed"


def test_an_odd_answer_that_a_sound_one_has_overtaken_is_an_incident_too() -> None:
    run = run_on("a", "b")
    first, second = claimed(run, 0, 0), claimed(run, 0, 1)
    settled(first, 2.0)
    assert blamed() == []
    settled(second, float("nan"))
    assert result(run) == [2.0]
    assert blamed() == [second.browser]
    assert len(client().keys(f"webpool:tensor:{run.pk}:*")) == 1, "the late answer was freed"


def test_two_copies_that_are_odd_alike_are_the_answer() -> None:
    run = run_on("a", "b")
    settled(claimed(run, 0, 0), 0.0)
    settled(claimed(run, 0, 1), 0.0)
    sweep.place_waiting()
    again = run.shards.filter(state=StepState.QUEUED).first()
    assert again is not None
    settled(claimed(run, 0, again.copy), 0.0)
    assert result(run) == [0.0]
    assert blamed() == []


def test_what_is_drawn_by_chance_is_not_compared(tmp_path: Path) -> None:
    publish("a")
    publish("b")
    (tmp_path / "drawn.onnx").write_bytes(small_models.random_normal())
    registry.add_model(tmp_path / "drawn.onnx", name="drawn")
    x = [tensors.encode_array("x", np.zeros((1, 4), np.float32))]
    with pytest.raises(InvalidRequest, match="shard 0 draws random numbers"):
        creation.create_run(RunRequest("drawn", x, redundancy="compare"))
    assert not Run.objects.exists()
