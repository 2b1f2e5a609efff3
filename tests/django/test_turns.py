"""Browsers of one machine restart one after the other; a turn that expired is nobody's to give back."""

from __future__ import annotations

from typing import Any

import pytest

from browsers.redis import client
from browsers.restart_lock import turn


@pytest.fixture(autouse=True)
def store(valkey: Any) -> None:
    client().flushall()


def test_one_has_its_turn_at_a_time() -> None:
    with turn("a", wait_s=0.0) as ours:
        assert ours
        with turn("b", wait_s=0.3) as mine:
            assert not mine
        with turn("b", wait_s=0.0) as mine:
            assert not mine, "who did not get it gave nothing back"
    with turn("b", wait_s=0.0) as mine:
        assert mine


def test_who_kept_it_for_too_long_does_not_end_the_turn_of_its_own_successor() -> None:
    with turn("a", wait_s=0.0) as first:
        assert first
        client().delete(*client().keys("webpool:restarting:*"))  # as when it expires
        second = turn("a", wait_s=0.0)
        assert second.__enter__()
    with turn("b", wait_s=0.0) as mine:
        assert not mine
    second.__exit__(None, None, None)
    with turn("b", wait_s=0.0) as mine:
        assert mine


def test_without_a_store_nobody_has_a_turn(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    nowhere = redis.Redis(port=9, socket_connect_timeout=1)
    monkeypatch.setattr("browsers.restart_lock.client", lambda: nowhere)
    with turn("a", wait_s=0.0) as mine:
        assert not mine
