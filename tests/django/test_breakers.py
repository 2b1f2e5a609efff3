"""Breakers shared through a real Valkey: read with the live state, changed by many, obeyed by placement."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from browsers.core.failures import Category
from browsers.redis import client
from browsers.state import breakers, live
from inference.core.placement import NoBrowser, ShardView, Wishes, candidates
from inference.scheduling.pool_view import snapshot
from tests.support.ledger import publish

SHARD = ShardView(0, "aa", 1)
pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture
def clean(database: None, valkey: Any) -> Iterator[None]:
    client().flushall()
    yield
    client().flushall()


def order(shard: ShardView = SHARD) -> list[str]:
    found = candidates(shard, snapshot(), Wishes(), avoid={}, refused={}, used={})
    return [candidate.browser for candidate in found]


def test_an_open_breaker_keeps_work_away_but_never_from_the_last_browser() -> None:
    publish("a")
    publish("b")
    assert order() == ["a", "b"]
    breakers.crashed("a")
    assert order() == ["b", "a"]
    live.withdraw("b")
    assert order() == ["a"]


def test_a_model_that_fails_in_one_browser_is_kept_away_there_and_no_other_model() -> None:
    publish("a")
    publish("b")
    for _ in range(3):
        breakers.failed("a", Category.OUT_OF_MEMORY, sha256="aa")
    assert order() == ["b", "a"]
    assert order(ShardView(0, "bb", 1)) == ["a", "b"]


def test_they_travel_with_the_live_state_and_outlive_the_lease() -> None:
    publish("a")
    breakers.crashed("a")
    assert live.living()["a"].breakers.state(time.time()) == "open"
    assert snapshot()[0].breaker == "open"
    live.withdraw("a")
    assert breakers.read(["a", "b"])["a"].state(time.time()) == "open"
    with pytest.raises(NoBrowser):
        order()


def test_a_repair_closes_it_and_a_reset_closes_all() -> None:
    breakers.crashed("a")
    assert breakers.repaired("a").state(time.time()) == "closed"
    for _ in range(4):
        breakers.repaired("a")
        breakers.crashed("a")
    assert breakers.repaired("a").state(time.time()) == "open", "it crashes too often"
    breakers.reset("a")
    assert breakers.read(["a"])["a"] == breakers.CLOSED


def test_who_loses_redis_starts_with_closed_breakers() -> None:
    publish("a")
    breakers.crashed("a")
    client().flushall()
    publish("a")
    assert snapshot()[0].breaker == "closed"


def test_failures_told_by_many_at_once_are_all_counted() -> None:
    tellers = [
        threading.Thread(target=breakers.failed, args=("a", Category.OUT_OF_MEMORY), kwargs=told)
        for told in [{"sha256": "aa"}, {"sha256": "bb"}] * 3
    ]
    for teller in tellers:
        teller.start()
    for teller in tellers:
        teller.join()
    assert breakers.read(["a"])["a"].blocked_models(time.time(), busy=False) == {"aa", "bb"}


def test_of_many_that_would_probe_at_once_one_does() -> None:
    breakers.crashed("a")
    open_one = breakers.read(["a"])["a"]
    cooled = dataclasses.replace(open_one.browser, cooldown_s=0.0)
    stored = dataclasses.replace(open_one, browser=cooled).to_json()
    client().set(breakers.key_of("a"), json.dumps(stored))
    taken: list[bool] = []
    probers = [
        threading.Thread(
            target=lambda name=name: taken.append(breakers.begin_probe("a", owner=name))
        )
        for name in "abcd"
    ]
    for prober in probers:
        prober.start()
    for prober in probers:
        prober.join()
    assert sorted(taken) == [False, False, False, True]
