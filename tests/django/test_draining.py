"""A drained browser takes nothing new, against a real database and a real Valkey."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from browsers.models import Browser, BrowserState
from browsers.redis import client
from browsers.state.live import living
from inference.errors import UnknownBrowser
from inference.ledger import claims, draining, operations, sweep
from inference.models import Run, RunStep, StepState
from tests.support.ledger import make_run, publish


@pytest.fixture(autouse=True)
def two_browsers(clean: None) -> None:
    for name in ("a", "b"):
        Browser.objects.create(id=name, kind=name, family=name, state=BrowserState.READY)
        publish(name)


def only_shard(run: Run) -> RunStep:
    return run.shards.get(index=0)


def test_what_waits_moves_what_runs_stays_and_nothing_new_comes() -> None:
    computing, waiting = (make_run(shards=1, browsers=["a", "b"]) for _ in range(2))
    shard = only_shard(computing)
    assert claims.claim(shard.pk, shard.fence, timezone.now()) is not None
    done = draining.drain("a", reason="a new graphics card")
    assert done == draining.Draining("a", moved=1, left=1, others=1)
    assert only_shard(computing).state == StepState.RUNNING
    assert (only_shard(waiting).state, only_shard(waiting).browser) == (StepState.QUEUED, "b")
    assert living()["a"].state == "draining"
    assert only_shard(make_run(shards=1, browsers=["a", "b"])).browser == "b"
    again = draining.drain("a", reason="another")
    assert (again.moved, again.left) == (0, 1)
    assert Browser.objects.get(pk="a").drain_reason == "a new graphics card"


def test_what_nobody_else_may_take_is_still_computed_by_the_drained_one() -> None:
    pinned = make_run(shards=1, pins={"0": "a"})
    before = only_shard(pinned)
    assert draining.drain("a", reason="").left == 1
    after = only_shard(pinned)
    assert (after.state, after.browser, after.fence) == (StepState.QUEUED, "a", before.fence)


def test_new_work_for_a_drained_browser_alone_waits_and_goes_on_with_undrain() -> None:
    draining.drain("a", reason="")
    run = make_run(shards=1, pins={"0": "a"})
    sweep.sweep(timezone.now())
    assert only_shard(run).state == StepState.READY
    assert draining.undrain("a")
    assert (only_shard(run).state, only_shard(run).browser) == (StepState.QUEUED, "a")
    assert not draining.undrain("a")


def test_a_run_that_waited_in_vain_says_that_its_browser_was_drained() -> None:
    draining.drain("a", reason="")
    run = make_run(shards=1, pins={"0": "a"})
    sweep.sweep(timezone.now() + timedelta(seconds=61))
    run.refresh_from_db()
    assert (run.state, run.error_category) == ("failed", "no_browser")
    assert "a: it is draining" in run.error


def test_of_a_quarantined_browser_it_says_that() -> None:
    operations.quarantine("a", by="somebody")
    run = make_run(shards=1, pins={"0": "a"})
    sweep.sweep(timezone.now() + timedelta(seconds=61))
    run.refresh_from_db()
    assert "a: it is quarantined" in run.error
    assert living()["a"].state == "quarantined"


def test_a_store_that_lost_its_data_learns_again_who_is_drained() -> None:
    draining.drain("a", reason="")
    client().flushall()
    publish("a")
    assert living()["a"].state == "ready"
    sweep.sweep(timezone.now())
    assert living()["a"].state == "draining"


def test_a_browser_that_is_repairing_says_so_also_when_drained() -> None:
    draining.drain("a", reason="")
    publish("a", state="recovering")
    assert living()["a"].state == "recovering"


def test_an_unknown_browser_is_named() -> None:
    with pytest.raises(UnknownBrowser, match="'c'; known: a, b"):
        draining.drain("c", reason="")
