"""A lease that ends is seen at once, and a dead worker's queue is emptied; real database, real Valkey."""

from __future__ import annotations

from typing import Any

import pytest
from celery import current_app
from django.utils import timezone

from browsers.redis import client
from inference.ledger import claims, lease_watch, results
from inference.models import Outcome, StepState
from inference.scheduling import dispatch
from tests.support.ledger import make_run, publish

pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture(autouse=True)
def lease(settings: Any) -> None:
    settings.WEBPOOL_LEASE_S = 86_400.0  # longer than any Valkey of the tests has been up


def test_what_a_browser_held_when_its_lease_ended_goes_to_another(settings: Any) -> None:
    publish("a")
    publish("b")
    run = make_run(shards=1, browsers=["a", "b"])
    shard = run.shards.get(index=0)
    assert claims.claim(shard.pk, shard.fence, timezone.now()) is not None
    held, _ = lease_watch.check_leases(None)
    assert held == {"a", "b"}
    assert lease_watch.check_leases(held)[0] == held
    client().delete("webpool:browser:a")
    assert lease_watch.check_leases(held)[0] == {"b"}, (
        "the server is young: leases may yet be renewed"
    )
    assert run.shards.get(index=0).browser == "a"
    settings.WEBPOOL_LEASE_S = -1.0  # as when the server has been up for long
    assert lease_watch.check_leases(held)[0] == {"b"}
    moved = run.shards.get(index=0)
    assert (moved.state, moved.browser) == (StepState.QUEUED, "b")
    (lost,) = moved.attempt_rows.all()
    assert (lost.outcome, lost.error_category) == (Outcome.LOST, "timeout"), "not known to be dead"


def test_the_next_look_comes_when_the_soonest_lease_can_end(settings: Any) -> None:
    settings.WEBPOOL_LEASE_S = 2.5
    nobody, within_s = lease_watch.check_leases(None)
    assert not nobody
    assert 2.5 <= within_s < 2.6, "the lease of one that comes now"
    publish("a")
    publish("b")
    client().pexpire("webpool:browser:b", 1500)
    _, within_s = lease_watch.check_leases(None)
    assert 0 < within_s <= 1.52


def test_messages_for_shards_go_with_their_worker_and_others_wait_for_the_next() -> None:
    publish("a")
    publish("b")
    run = make_run(shards=1, pins={"0": "a"})
    dispatch.send(list(run.shards.all()))
    current_app.send_task("inference.tasks.load_shard", ("ab" * 32, ""), queue="browser.a")
    assert client().llen("browser.a") == 2
    client().delete("webpool:browser:a")
    results.owner_died("a", "killed")
    (left,) = client().lrange("browser.a", 0, -1)
    assert b"load_shard" in left
