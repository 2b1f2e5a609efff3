"""Large bodies through a door at once: no more are held than there is room for, packed or not."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import time
import tracemalloc
from typing import Any

import pytest
from django.test import RequestFactory

from inference.errors import TooSlow
from inference.models import OnnxModel
from inference.views import http
from inference.wire import room
from inference.wire.oip.datatypes import HEADER_LENGTH
from tests.support.asgi import ask, ask_at_once

LIMIT = 8  # MB
LARGE = 6 * 2**20
MANY = 12


def request(*shape: int) -> tuple[bytes, dict[str, str]]:
    tensor = {"name": "x", "datatype": "FP32", "shape": shape}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": LARGE}}]}).encode()
    return head + bytes(LARGE), {HEADER_LENGTH: str(len(head))}


WRONG = request(1, LARGE // 4)


@pytest.fixture
def path(asked_model: OnnxModel, settings: Any) -> str:
    settings.WEBPOOL_MAX_REQUEST_MB = LIMIT
    path = f"/v2/models/{asked_model.name}/infer"
    ask("POST", path, b"{}")  # what is loaded once
    return path


@pytest.mark.parametrize("packed", [True, False])
def test_many_of_one_caller_take_turns(path: str, packed: bool) -> None:
    body, headers = WRONG
    if packed:
        body, headers = gzip.compress(body, 1), {**headers, "content-encoding": "gzip"}
    tracemalloc.start()
    try:
        answers = ask_at_once(MANY, path, body, headers)
        assert tracemalloc.get_traced_memory()[1] < room.OF_ONE * LIMIT * 2**20 * 1.5
    finally:
        tracemalloc.stop()
    assert {answered.status for answered in answers} == {400}, answers[0].body


def test_packed_bodies_take_the_room_that_they_need_and_not_all_they_might(
    path: str, settings: Any
) -> None:
    """Five of 2 MB, of 2 MB packed: each might hold 64, and a caller has room for 128."""
    settings.WEBPOOL_MAX_REQUEST_MB = 64
    tensor = {"name": "x", "datatype": "FP32", "shape": (1, 2**19)}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": 2**21}}]}).encode()
    body = gzip.compress(head + random.Random(7).randbytes(2**21), 1)
    headers = {HEADER_LENGTH: str(len(head)), "content-encoding": "gzip"}
    answers = ask_at_once(5, path, body, headers)
    assert {answered.status for answered in answers} == {400}, answers[0].body


def test_more_than_may_wait_are_told_to_come_back(path: str) -> None:
    answers = ask_at_once(40, path, *WRONG)
    assert {answered.status for answered in answers} == {400, 429}
    refused = [answered for answered in answers if answered.status == 429]
    assert all(int(answered.headers["retry-after"]) > 0 for answered in refused)
    assert "WEBPOOL_MAX_REQUEST_MB" in refused[0].json()["error"]


def test_a_run_that_is_waited_for_holds_none(path: str, settings: Any) -> None:
    settings.WEBPOOL_RUN_DEADLINE_S = 3
    began = time.monotonic()
    answers = ask_at_once(8, path, *request(LARGE // 16, 4))
    assert {answered.status for answered in answers} == {504}
    assert time.monotonic() - began < 10, "two at a time would have taken four times three seconds"


@pytest.mark.parametrize("others", [True, False], ids=["others wait", "alone"])
def test_a_large_body_that_drips_is_refused_where_others_wait_for_room(
    settings: Any, others: bool
) -> None:
    settings.WEBPOOL_MAX_REQUEST_MB, settings.WEBPOOL_READ_S = LIMIT, 0.1
    request = RequestFactory().post("/v2/x", headers={"content-length": str(LARGE)})

    async def dripping() -> Any:
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def check() -> None:
        with room.of_request():
            reading = asyncio.ensure_future(http.read_body(request, dripping))
            await asyncio.sleep(0.3)
            if others:
                rest = room.IN_ALL * LIMIT * 2**20 - LARGE
                waiting = asyncio.ensure_future(room._room.take("another", rest // 2))
                beside = asyncio.ensure_future(room._room.take("a third", rest // 2 + 2**20))
                with pytest.raises(TooSlow, match="while others waited for room"):
                    await asyncio.wait_for(reading, 10)
            else:
                assert not reading.done()
                reading.cancel()
        if others:
            await asyncio.gather(waiting, beside)
            room._room.give("another", rest // 2)
            room._room.give("a third", rest // 2 + 2**20)

    asyncio.run(check())
    assert room._room.taken == 0
