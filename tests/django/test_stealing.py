"""What waits long for a browser that is at something else goes to one that rests."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from inference.ledger import claims, stealing, sweep
from inference.models import Run, RunShard, ShardState
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
    assert run.shards.get().state == ShardState.QUEUED
    assert RunShard.objects.get(run__owner="first").browser == "a", "what is computed stays"


def test_each_owner_gives_one_and_a_browser_takes_one_at_a_time() -> None:
    runs = waiting_for("a", "many", "many", "one")
    publish("b", idle_since=time.time())
    publish("c", idle_since=time.time())
    after()
    assert [where(run) for run in runs].count("a") == 1
    assert where(runs[2]) != "a"
    assert where(runs[0]) != where(runs[2])


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
