"""Whose shards a browser computes first, where several tenants wait for it: over real queues and rows."""

from __future__ import annotations

import pytest

from browsers.queues import queue_of
from browsers.redis import client
from inference.core.turns import Turns
from inference.ledger import endings
from inference.models import Run, RunState, RunStep
from tests.support import workers
from tests.support.ledger import make_run, publish

pytestmark = pytest.mark.usefixtures("clean")
MANY = 50


def asked_by(tenant: str, shards: int = 1, strategy: str = "layer") -> Run:
    run = make_run(strategy, shards, tenant=tenant)
    workers.send_first(run)
    return run


def receive(turns: Turns) -> RunStep | None:
    return workers.claim_next("a", workers.next_message("a"), turns)


def served(turns: Turns) -> list[str]:
    """Compute all that waits; whose it was, in order."""
    order = []
    while workers.with_messages(["a"]):
        if step := receive(turns):
            order.append(step.run.tenant)
            workers.answer(step, 1.0)
    return order


def test_one_run_of_another_key_overtakes_all_but_the_one_that_is_computed() -> None:
    publish("a")
    turns = Turns()
    for _ in range(MANY):
        asked_by("key greedy")
    first = receive(turns)
    assert first and first.run.tenant == "key greedy"
    asked_by("key other")
    workers.answer(first, 1.0)
    assert served(turns) == ["key other", *["key greedy"] * (MANY - 1)]
    assert not Run.objects.active().exists()
    assert client().llen(queue_of("a")) == 0


def test_who_wait_take_turns_however_much_each_has() -> None:
    publish("a")
    for tenant, count in (("x", 4), ("y", 2), ("z", 1)):
        for _ in range(count):
            asked_by(tenant)
    assert served(Turns()) == ["x", "y", "z", "x", "y", "x", "x"]


def test_of_one_key_who_asked_first_is_served_first_whatever_overtook() -> None:
    publish("a")
    turns = Turns()
    mine = [asked_by("key greedy").pk for _ in range(3)]
    asked_by("key other")
    computed = [step.run_id for _ in range(4) if (step := receive(turns))]
    assert [run for run in computed if run in mine] == mine


def test_what_nobody_wants_any_more_costs_nobody_a_turn() -> None:
    publish("a")
    turns = Turns()
    unwanted = [asked_by("key greedy") for _ in range(3)]
    asked_by("key other")
    for run in unwanted:
        endings.cancel(run.pk, "nobody wants it")
    step = receive(turns)
    assert step and step.run.tenant == "key other"
    assert served(turns) == []


def test_a_chord_whose_parts_were_taken_in_turn_is_not_waited_for() -> None:
    publish("a")
    turns = Turns()
    batch = asked_by("key greedy", 2, "data")
    other = asked_by("key other")
    assert served(turns) == ["key greedy", "key other", "key greedy"]
    assert [step.fence for step in batch.shards.filter(kind="compute")] == [1, 2]
    assert client().llen("control") > 0, "the join was sent, though its chord has a member less"
    workers.follow_chords()
    for run in (batch, other):
        run.refresh_from_db()
        assert run.state == RunState.SUCCEEDED
