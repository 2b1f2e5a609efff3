"""Odd answers are confirmed by another browser, compared ones by definition; the test plays the workers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from browsers.models import Browser, Incident
from browsers.redis import client
from browsers.state import breakers
from inference.ledger import claims, endings, results, verification
from inference.ledger.attempts import AttemptFacts
from inference.models import Outcome, Run, RunState, RunStep, StepState
from inference.runs.answers import collect
from inference.store import tensors
from inference.store.doubts import doubt_of
from tests.support.ledger import make_run, publish

pytestmark = pytest.mark.usefixtures("clean")


def run_of(*browsers: str, **fields: Any) -> Run:
    for name in browsers:
        Browser.objects.create(pk=name, kind=name, family=name)
        publish(name)
    return make_run(shards=1, **fields)


def answer(run: Run, *values: float, backend: str = "webgpu") -> RunStep:
    """The browser to which the shard was sent answers that."""
    row = run.shards.get()
    assert row.state == StepState.QUEUED, row.state
    shard = claims.claim(row.pk, row.fence, timezone.now())
    assert shard is not None
    wires = [tensors.encode_array("t1", np.array(values, np.float32))]
    facts = AttemptFacts(shard.browser, timezone.now(), backend=backend)
    refs = tensors.store(run.pk, wires)
    odd = verification.oddities(shard, wires)
    verification.settle(shard, wires, refs, odd, facts, results.Glance(shard))
    run.refresh_from_db()
    return run.shards.get()


def outcomes(run: Run) -> list[tuple[str, str]]:
    rows = run.shards.get().attempt_rows.order_by("pk")
    return [(row.browser, row.outcome) for row in rows]


def result(run: Run) -> list[float]:
    (wire,) = collect(run)
    return tensors.decode_array(wire).tolist()


def test_a_sound_answer_is_not_doubted() -> None:
    run = run_of("a", "b")
    answer(run, 1.0)
    assert (run.state, outcomes(run)) == (RunState.SUCCEEDED, [("a", Outcome.SUCCEEDED)])


def test_an_odd_answer_that_another_browser_gives_too_is_the_answer_and_is_remembered() -> None:
    run = run_of("a", "b")
    waiting = answer(run, 0.0, 0.0)
    assert (run.state, waiting.browser) == (RunState.RUNNING, "b")
    doubt = doubt_of(waiting)
    assert doubt is not None
    assert (doubt.why, doubt.compared) == ("t1 is all zero", False)
    answer(run, 0.0, 0.0)
    assert (run.state, result(run)) == (RunState.SUCCEEDED, [0.0, 0.0])
    assert outcomes(run) == [("a", Outcome.DOUBTED), ("b", Outcome.SUCCEEDED)]
    assert run.shards.get().plan_step.usual == ["t1 is all zero"]
    assert not Incident.objects.exists()
    assert len(client().keys(f"webpool:tensor:{run.pk}:*")) == 1, "the first answer was freed"
    again = Run.objects.get(pk=run.pk)
    again.pk = None
    step = run.shards.get()
    again.save(force_insert=True)
    RunStep.objects.create(
        run=again, plan_step=step.plan_step, index=0, kind=step.kind, state=StepState.QUEUED,
        browser="a", fence=1,
    )  # fmt: skip
    Run.objects.filter(pk=again.pk).update(state=RunState.RUNNING, outputs={})
    answer(again, 0.0, 0.0)
    assert outcomes(again) == [("a", Outcome.SUCCEEDED)], "not doubted again"


def test_an_odd_answer_that_another_browser_does_not_give_is_an_incident() -> None:
    run = run_of("a", "b")
    answer(run, float("nan"), 1.0)
    answer(run, 2.0, 1.0)
    assert (run.state, result(run)) == (RunState.SUCCEEDED, [2.0, 1.0])
    (incident,) = Incident.objects.all()
    assert (incident.browser_id, incident.category) == ("a", "wrong_answer")
    assert "t1 is not finite" in incident.message
    assert not breakers.read(["a"])["a"].spotless(run.shards.get().plan_step.sha256)


def test_an_odd_answer_stands_where_there_is_nobody_else_to_ask() -> None:
    run = run_of("a")
    answer(run, 0.0)
    assert (run.state, result(run)) == (RunState.SUCCEEDED, [0.0])
    assert outcomes(run) == [("a", Outcome.SUCCEEDED)]


def test_compared_answers_must_agree_and_a_third_browser_decides() -> None:
    run = run_of("a", "b", "c", redundancy="compare")
    answer(run, 1.0)
    assert run.state == RunState.RUNNING
    answer(run, 5.0)
    assert run.state == RunState.RUNNING, "one against one"
    answer(run, 1.0)
    assert (run.state, result(run)) == (RunState.SUCCEEDED, [1.0])
    (incident,) = Incident.objects.all()
    assert incident.browser_id == "b"
    assert outcomes(run)[-1] == ("c", Outcome.SUCCEEDED)


@pytest.mark.parametrize(
    ("backends", "agree"),
    [(("wasm", "wasm"), False), (("webgpu", "webgpu"), True), (("wasm", "webgpu"), True)],
)
def test_only_two_answers_of_wasm_must_have_the_same_bits(
    backends: tuple[str, str], agree: bool
) -> None:
    run = run_of("a", "b", "c", redundancy="compare")
    one = np.float32(1.0)
    answer(run, float(one), backend=backends[0])
    waiting = answer(run, float(np.nextafter(one, np.float32(2.0))), backend=backends[1])
    assert run.state == (RunState.SUCCEEDED if agree else RunState.RUNNING)
    assert agree or waiting.browser == "c", "one more is asked"
    assert not Incident.objects.exists()


def test_an_answer_of_wasm_that_is_one_bit_off_two_others_is_an_incident() -> None:
    run = run_of("a", "b", "c", redundancy="compare")
    one = np.float32(1.0)
    for value in (one, np.nextafter(one, np.float32(2.0)), one):
        answer(run, float(value), backend="wasm")
    assert (run.state, result(run)) == (RunState.SUCCEEDED, [1.0])
    (incident,) = Incident.objects.all()
    assert (incident.browser_id, incident.category) == ("b", "wrong_answer")


def test_an_answer_that_the_store_has_lost_is_asked_for_again() -> None:
    run = run_of("a", "b", redundancy="compare")
    answer(run, 1.0)
    client().delete(*client().keys(f"webpool:tensor:{run.pk}:*"))
    waiting = answer(run, 1.0)
    assert (run.state, waiting.browser) == (RunState.RUNNING, "a")
    answer(run, 1.0)
    assert (run.state, result(run)) == (RunState.SUCCEEDED, [1.0])
    assert not Incident.objects.exists()


def test_answers_that_wait_to_be_confirmed_are_freed_with_their_run() -> None:
    run = run_of("a", "b")
    answer(run, 0.0)
    assert endings.cancel(run.pk, "nobody wants it")
    assert not client().keys(f"webpool:tensor:{run.pk}:*")


def test_three_that_differ_fail_the_run() -> None:
    run = run_of("a", "b", "c", redundancy="compare")
    for value in (1.0, 5.0, 9.0):
        answer(run, value)
    assert (run.state, run.error_category) == (RunState.FAILED, "internal")
    assert "a, b, c answered differently" in run.error
    assert not client().keys(f"webpool:tensor:{run.pk}:*"), "all three were freed"


def test_a_comparison_needs_two_browsers() -> None:
    run = run_of("a", redundancy="compare")
    answer(run, 1.0)
    assert (run.state, run.error_category) == (RunState.FAILED, "no_browser")
    assert "it has answered" in run.error
