"""The ledger with several writers at the same moment: real processes, each with a connection of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from browsers.redis import client
from inference.catalog import registry
from inference.models import Attempt, Run, RunState, StepState
from inference.zoo.micro import chain
from tests.support import racing
from tests.support.ledger import make_run, publish
from tests.support.racers import Racers, racers

SIDES = 4
IN_FULL = pytest.param(200, marks=pytest.mark.soak("200 trials each"))
pytestmark = [pytest.mark.usefixtures("clean"), pytest.mark.parametrize("trials", [40, IN_FULL])]
if connection.vendor == "sqlite":
    pytestmark.append(pytest.mark.soak("it has one writer: PostgreSQL is the one to try"))


@pytest.fixture(scope="module")
def four(database: None, valkey: Any) -> Iterator[Racers]:
    environment = {}
    if connection.vendor == "sqlite":
        environment["WEBPOOL_DATABASE_PATH"] = str(connection.settings_dict["NAME"])
    with racers(SIDES, environment) as running:
        yield running


def test_parts_that_end_at_once_bring_their_join(four: Racers, trials: int) -> None:
    publish("a")
    left_waiting = 0
    for _ in range(trials):
        run = make_run("data", 2)
        steps = run.shards.filter(kind="compute").values_list("pk", "fence")
        assert four.race(*((racing.answer, (*step, "t1")) for step in steps)) == [True, True]
        left_waiting += run.shards.get(index=2).state != StepState.QUEUED
    assert left_waiting == 0, f"of {trials} joins"


def test_of_copies_that_answer_at_once_one_counts(four: Racers, trials: int) -> None:
    publish("a")
    publish("b")
    for _ in range(trials):
        run = make_run("layer", 1, redundancy="first")
        copies = run.shards.values_list("pk", "fence")
        counted = four.race(*((racing.answer, (*copy, "t1")) for copy in copies))
        assert sorted(counted) == [False, True]
        run.refresh_from_db()
        assert run.state == RunState.SUCCEEDED


def test_where_there_is_room_for_one_run_one_is_let_in(
    four: Racers, trials: int, tmp_path: Path
) -> None:
    publish("a")
    model = registry.add_model(chain(tmp_path / "chain.onnx"), name="chain-of-races")
    four.race(*((racing.ask, (model.name, SIDES)) for _ in range(SIDES)))  # its plan is cut
    try:
        for _ in range(trials):
            client().delete("browser.a")
            Run.objects.all().delete()
            let_in = four.race(*((racing.ask, (model.name, 1)) for _ in range(SIDES)))
            assert sum(let_in) == 1 == Run.objects.count()
    finally:
        Run.objects.all().delete()
        model.delete()


def test_every_attempt_becomes_history_in_whichever_order_it_is_committed(
    four: Racers, trials: int
) -> None:
    publish("a")
    mark = max(Attempt.objects.values_list("pk", flat=True), default=0)
    runs = [make_run("layer", 1) for _ in range(trials)]
    steps = [tuple(run.shards.values_list("pk", "fence")[0]) for run in runs]
    writers = [(racing.answer_all, (steps[side :: SIDES - 1],)) for side in range(SIDES - 1)]
    *counted, taken = four.race(*writers, (racing.follow, (mark, trials)))
    assert all(each for side in counted for each in side)
    assert taken == list(Attempt.objects.filter(pk__gt=mark).values_list("pk", flat=True))
