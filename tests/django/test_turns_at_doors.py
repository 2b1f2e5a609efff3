"""Every door spaces the requests of a key that took more than its share, and no other's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from inference import auth
from inference.runs import shares
from tests.support.asgi import ask
from tests.support.hostile import JSON

DOORS: Final = (
    ("GET", "/api/models/", b""),
    ("POST", "/api/runs/", b"{}"),
    ("GET", "/metrics", b""),
    ("GET", "/v2/models/none", b""),
    ("POST", "/v2/models/none/infer", b"{}"),
    ("GET", "/v1/models", b""),
    ("POST", "/v1/chat/completions", b"{}"),
)
CHARGED_S: Final = 2.0  # counts up to four times beside others: less than what is refused at once


def at_each(key: str) -> list[int]:
    with ThreadPoolExecutor(len(DOORS)) as threads:
        headers = {**JSON, "Authorization": f"Bearer {key}"}
        asked = [threads.submit(ask, *door, headers, client="192.0.2.1") for door in DOORS]
        return [each.result().status for each in asked]


def test_whoever_took_more_than_a_share_waits_at_every_door_and_nobody_else_does(
    database: None, valkey: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "_shares", shares.Shares())  # without who asked before this test
    greedy, modest, wrong = auth.create_key("greedy")[1], auth.create_key("modest")[1], "wp_wrong"
    expected = [200, 400, 200, 404, 404, 200, 400]
    assert at_each(modest) == expected
    assert at_each(greedy) == expected
    assert at_each(wrong) == [401] * len(DOORS)
    for owner in ("key greedy", shares.stranger("192.0.2.1")):
        shares.charge(owner, CHARGED_S)
    with ThreadPoolExecutor(2) as others:
        held = [others.submit(at_each, key) for key in (greedy, wrong)]
        assert at_each(modest) == expected
        assert not any(each.done() for each in held)
        assert [each.result() for each in held] == [expected, [401] * len(DOORS)]
