"""Every door spaces the requests of a key that took more than its share, and no other's."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import pytest

from inference import auth
from inference.runs import shares
from tests.support.asgi import Answered, ask
from tests.support.hostile import JSON

DOORS: Final = (
    ("GET", "/api/models/", b""),
    ("POST", "/api/runs/", b"{}"),
    ("GET", "/metrics", b""),
    ("POST", "/metrics", b""),
    ("GET", "/v2/models/none", b""),
    ("POST", "/v2/models/none/infer", b"{}"),
    ("GET", "/v1/models", b""),
    ("POST", "/v1/chat/completions", b"{}"),
)
EXPECTED: Final = [200, 400, 200, 405, 404, 404, 200, 400]
REFUSED: Final = [401] * len(DOORS)
PAGES: Final = (("GET", "/admin/login/", b""), ("GET", "/", b""), ("GET", "/nothing", b""))
ADDRESS: Final = "192.0.2.1"


def send(
    threads: ThreadPoolExecutor, doors: Iterable[tuple[str, str, bytes]], key: str
) -> list[Future[Answered]]:
    headers = {**JSON, "Authorization": f"Bearer {key}"}
    return [
        threads.submit(ask, method, path, body, headers, client=ADDRESS)
        for method, path, body in doors
    ]


def statuses(asked: list[Future[Answered]]) -> list[int]:
    return [each.result().status for each in asked]


def test_whoever_took_more_than_a_share_waits_at_every_door_and_nobody_else_does(
    database: None, valkey: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held up are they until the others were silent for a while, which ends the test as well."""
    monkeypatch.setattr(shares, "_shares", shares.Shares())  # without who asked before this test
    greedy, modest, wrong = auth.create_key("greedy")[1], auth.create_key("modest")[1], "wp_wrong"
    with ThreadPoolExecutor(40) as threads:
        for key, expected in ((modest, EXPECTED), (greedy, EXPECTED), (wrong, REFUSED)):
            assert statuses(send(threads, DOORS, key)) == expected
        assert statuses(send(threads, DOORS, modest)) == EXPECTED
        for owner in ("key greedy", shares.stranger(ADDRESS)):
            for _ in range(3):
                shares.charge(owner, 1.0)
        held = [send(threads, DOORS, greedy), send(threads, DOORS, wrong)]
        pages = send(threads, PAGES, wrong)
        assert statuses(send(threads, DOORS, modest)) == EXPECTED
        assert not any(each.done() for asked in (*held, pages) for each in asked)
        assert [statuses(asked) for asked in held] == [EXPECTED, REFUSED]
        assert statuses(pages) == [200, 200, 404]
