"""What waits long for a browser that is at something else goes to one that rests."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any, Final

import pytest
from django.utils import timezone

from browsers.core.failures import Category
from browsers.state import breakers
from browsers.state.live import LiveModel
from history.models import BrowserRecommendation
from inference.core.stealing import worth_moving
from inference.ledger import claims, results, stealing, sweep
from inference.ledger.attempts import AttemptFacts
from inference.models import (
    GenerationSession,
    GenerationStage,
    GenerationStandby,
    PlanStep,
    Run,
    RunStep,
    StepState,
)
from inference.scheduling import advice
from tests.support.ledger import make_run, publish

pytestmark = pytest.mark.usefixtures("clean")


def waiting_for(browser: str, *owners: str) -> list[Run]:
    """Runs that were placed while this browser was the only one; the first is computed."""
    publish(browser)
    runs = [make_run(shards=1, owner=owner, tenant=owner) for owner in ("first", *owners)]
    row = runs[0].shards.get()
    assert claims.claim(row.pk, row.fence, timezone.now()) is not None
    publish(browser, idle_since=None)
    return runs[1:]


def where(run: Run) -> str:
    return run.shards.get().browser


def after(wait: timedelta = stealing.WAITS_LONG) -> None:
    stealing.steal(timezone.now() + wait + timedelta(milliseconds=1))


def test_an_idle_browser_takes_what_waits_long() -> None:
    (run,) = waiting_for("a", "me")
    publish("b", idle_since=time.time())
    after(timedelta(seconds=1))
    assert where(run) == "a", "it may be done any moment"
    after()
    assert where(run) == "b"
    assert run.shards.get().state == StepState.QUEUED
    assert RunStep.objects.get(run__owner="first").browser == "a", "what is computed stays"


def test_each_owner_gives_one_and_a_browser_takes_one_at_a_time() -> None:
    runs = waiting_for("a", "many", "many", "one")
    publish("b", idle_since=time.time())
    publish("c", idle_since=time.time())
    after()
    assert [where(run) for run in runs].count("a") == 1
    assert where(runs[2]) != "a"
    assert where(runs[0]) != where(runs[2])


FILE: Final = f"{0:064d}"


def test_it_does_not_go_back_to_where_it_failed() -> None:
    """Else its retries are used up there, and another browser would have answered it."""
    publish("b")
    run = make_run(shards=1)
    row = run.shards.get()
    shard = claims.claim(row.pk, row.fence, timezone.now())
    assert shard is not None
    publish("a")
    facts = AttemptFacts("b", timezone.now())
    results.record_failure(shard, Category.BROWSER_CRASH, "the page died", facts)
    assert where(run) == "a"
    publish("a", idle_since=None)
    publish("b", idle_since=time.time())
    after()
    assert where(run) == "a"
    publish("c", idle_since=time.time())
    after()
    assert where(run) == "c"


def test_a_file_that_fails_in_a_browser_stays_away_from_it() -> None:
    (run,) = waiting_for("a", "me")
    publish("b", idle_since=time.time())
    for _ in range(3):
        breakers.failed("b", Category.OUT_OF_MEMORY, sha256=FILE)
    after()
    assert where(run) == "a"


def test_a_kind_that_fails_at_such_work_does_not_get_it() -> None:
    (run,) = waiting_for("a", "me")
    evidence = {"browser": "b", "platform": "wasm", "standing": "refused", "ratio": None}
    BrowserRecommendation.objects.create(
        model_type=run.model.model_type, model_name="", recommended_browser="a", confidence=0.9,
        sample_size=20, based_on="measurements", config={"evidence": [evidence]}, timestamp=timezone.now(),
    )  # fmt: skip
    advice.clear_cache()
    publish("b", idle_since=time.time())
    try:
        after()
        assert where(run) == "a"
    finally:
        BrowserRecommendation.objects.all().delete()
        advice.clear_cache()


@pytest.mark.parametrize("pinned", ["many", "me"])
def test_what_may_not_move_keeps_nothing_else_from_moving(pinned: str) -> None:
    runs = waiting_for("a", *([pinned] * 70), "me")
    Run.objects.filter(pk__in=[run.pk for run in runs[:-1]]).update(browsers=["a"])
    publish("b", idle_since=time.time())
    after()
    assert where(runs[-1]) == "b"


def of_gigabyte(*owners: str, compute_ms: float | None, waited: timedelta) -> list[Run]:
    """Runs of a file of 1 GB that wait for a, which holds it, while b is idle and would have to load it."""
    held = {FILE: LiveModel("wasm", 2**30, compute_ms)}
    publish("a", loaded=held, memory_limit_mb=4000.0)
    runs = [make_run(shards=1, owner=owner, tenant=owner) for owner in ("first", *owners)]
    PlanStep.objects.filter(sha256=FILE).update(weight_bytes=2**30)
    row = runs[0].shards.get()
    assert claims.claim(row.pk, row.fence, timezone.now()) is not None
    publish("a", loaded=held, memory_limit_mb=4000.0, idle_since=None)
    publish("b", idle_since=time.time(), memory_limit_mb=4000.0)
    after(waited)
    return runs[1:]


def test_it_stays_where_it_is_done_sooner() -> None:
    (run,) = of_gigabyte("me", compute_ms=4000.0, waited=timedelta(seconds=3))
    assert where(run) == "a", "loading takes 20 s, and what is before it 1 s more"


def test_it_moves_where_it_is_known_to_wait_for_longer() -> None:
    (run,) = of_gigabyte("me", compute_ms=40_000.0, waited=timedelta(seconds=3))
    assert where(run) == "b"


@pytest.mark.parametrize(("waited_s", "browser"), [(19, "a"), (30, "b")])
def test_where_nobody_knows_how_long_it_waits_for_as_long_as_a_move_costs(
    waited_s: float, browser: str
) -> None:
    """The one that is computed takes longer than it was expected to."""
    (run,) = of_gigabyte("me", compute_ms=100.0, waited=timedelta(seconds=waited_s))
    assert where(run) == browser


def test_tenants_take_turns_and_so_one_of_another_waits_for_the_first_of_each() -> None:
    """Twenty steps of one tenant stand before it, and a single one of those is computed before it."""
    runs = of_gigabyte(*["many"] * 20, "one", compute_ms=6000.0, waited=timedelta(seconds=3))
    assert where(runs[-1]) == "a"
    assert [where(run) for run in runs].count("b") == 1


def test_no_move_passes_a_deadline() -> None:
    assert worth_moving(900.0, here_ms=None, waited_ms=3000.0, left_ms=1000.0)
    assert not worth_moving(1100.0, here_ms=None, waited_ms=3000.0, left_ms=1000.0)


@pytest.mark.parametrize("standby", [False, True])
def test_a_browser_that_writes_a_text_has_something_to_do(standby: bool) -> None:
    (run,) = waiting_for("a", "me")
    publish("b", idle_since=time.time())
    session = GenerationSession.objects.create(
        model=run.model, plan=run.plan, asked={}, created_at=timezone.now()
    )
    stage = GenerationStage.objects.create(
        session=session, plan_step=run.shards.get().plan_step, index=0,
        browser="elsewhere" if standby else "b", given_at=timezone.now(),
    )  # fmt: skip
    if standby:
        GenerationStandby.objects.create(stage=stage, epoch=2, browser="b", given_at=timezone.now())
    after()
    assert where(run) == "a"
    session.delete()
    after()
    assert where(run) == "b"


@pytest.mark.parametrize("why", ["busy", "draining", "short of memory", "wish"])
def test_it_stays_where_no_other_can_take_it(why: str) -> None:
    (run,) = waiting_for("a", "me")
    changes: dict[str, dict[str, Any]] = {
        "busy": {"idle_since": None},
        "draining": {"idle_since": time.time(), "state": "draining"},
        "short of memory": {"idle_since": time.time(), "short_of_memory": True},
        "wish": {"idle_since": time.time()},
    }
    if why == "wish":
        Run.objects.filter(pk=run.pk).update(browsers=["a"])
    publish("b", **changes[why])
    after()
    assert where(run) == "a"
    assert run.shards.get().fence == 1, "it was not touched"


def test_the_sweep_does_it() -> None:
    assert stealing.steal in sweep._OF_WORK
