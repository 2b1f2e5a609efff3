"""Each move of the table, made by what the product does; the test plays the workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.utils import timezone

from browsers.core.failures import Category
from browsers.models import Browser
from browsers.state import live
from inference.core.turns import Turns
from inference.ledger import claims, endings, results, sweep
from inference.ledger.turns import claim_next
from inference.models import Run, RunStep, StepState
from inference.store import step_moves
from tests.support import workers
from tests.support.ledger import make_run, publish
from tests.support.moves import Watch, every_move, watched

pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture
def watch() -> Iterator[Watch]:
    with watched() as watch:
        yield watch


def claimed(run: Run, index: int = 0) -> RunStep:
    row = run.shards.get(index=index)
    shard = claims.claim(row.pk, row.fence, timezone.now())
    assert shard is not None
    return shard


def taken_in_turn(_run: Run) -> None:
    """A message of the tenant that was just served brings another one's step."""
    turns = Turns()
    publish("c")
    first, second, other = (
        make_run(shards=1, browsers=["c"], tenant=tenant).shards.get()
        for tenant in ("key greedy", "key greedy", "key other")
    )
    for step in (first, second):
        assert claim_next("c", (step.pk, step.fence), turns, timezone.now())
    other.refresh_from_db()
    assert other.state == StepState.RUNNING


def next_is_queued(run: Run) -> None:
    workers.answer(claimed(run), 1.0)


def next_finds_no_browser(run: Run) -> None:
    shard = claimed(run)
    live.withdraw("a")
    live.withdraw("b")
    workers.answer(shard, 1.0)


def answered_oddly(run: Run) -> None:
    workers.answer(claimed(run, 0), 1.0)
    workers.answer(claimed(run, 1), float("nan"))


def all_answered(run: Run) -> None:
    for index in (0, 1):
        workers.answer(claimed(run, index), 1.0)


def crashed(run: Run) -> None:
    workers.fail(claimed(run), Category.BROWSER_CRASH)


def failed_for_good(run: Run) -> None:
    workers.fail(claimed(run), Category.INVALID_INPUT)


def browser_died(run: Run) -> None:
    browser = run.shards.get(index=0).browser
    live.withdraw(browser)
    results.owner_died(browser, "killed")


def control_worker_died(_run: Run) -> None:
    batch = make_run("data", 2)
    for index in (0, 1):
        workers.answer(claimed(batch, index), 1.0)
    claimed(batch, 2)
    sweep.restart_joins()


def cancelled(run: Run) -> None:
    endings.cancel(run.pk, "nobody wants it")


WAYS: dict[str, Callable[[Run], object]] = {
    "step queue": next_is_queued,
    "step hold": next_finds_no_browser,
    "step claim": claimed,
    "step take": taken_in_turn,
    "step finish": next_is_queued,
    "step ask": answered_oddly,
    "step give_up": crashed,
    "step recall": browser_died,
    "step resend": control_worker_died,
    "step fail": failed_for_good,
    "step cancel": cancelled,
    "run succeed": all_answered,
    "run fail": failed_for_good,
    "run cancel": cancelled,
}


def test_for_each_move_of_the_table_there_is_a_way() -> None:
    assert WAYS.keys() == every_move()


@pytest.mark.parametrize("move", sorted(WAYS))
def test_the_ledger_makes_the_move(move: str, watch: Watch) -> None:
    for name in ("a", "b"):
        Browser.objects.create(pk=name, kind=name, family=name)
        publish(name)
    WAYS[move](make_run())
    assert move in {change.name for change in watch.take()}


def test_a_step_that_is_in_no_state_for_it_is_not_placed() -> None:
    shard = make_run().shards.get(index=0)
    shard.state = StepState.DONE
    with pytest.raises(ValueError, match="queue needs a step that is waiting or ready; it is done"):
        step_moves.queue(shard, "a", timezone.now())


def test_a_placement_that_meets_a_row_that_has_moved_on_is_not_written() -> None:
    publish("a")
    run = make_run()
    late = run.shards.get(index=1)
    step_moves.queue(late, "a", timezone.now())
    endings.cancel(run.pk, "meanwhile")
    assert step_moves.save_placed([late]) == []
    assert run.shards.get(index=1).state == StepState.CANCELLED
