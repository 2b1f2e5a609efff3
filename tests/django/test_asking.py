"""Commands to the server by connections that are kept: answers in order, and never another question's."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis.exceptions

from browsers.redis import ask, ask_meanwhile, client, script

pytestmark = pytest.mark.usefixtures("valkey")


@pytest.fixture(autouse=True)
def empty(valkey: object) -> None:
    client().flushall()


def test_answers_come_in_the_order_of_the_commands() -> None:
    large = b"\r\n$1\r\n" * 20_000
    asked = ask(("SET", "large", memoryview(large), "EX", 900), ("SET", "n", 41), ("INCR", "n"))
    assert asked == [b"OK", b"OK", 42]
    assert ask(("MGET", "n", "large", "nothing"), ("TTL", "large")) == [[b"42", large, None], 900]
    assert ask() == []


def test_a_refusal_is_raised_when_all_answers_were_read() -> None:
    with pytest.raises(redis.exceptions.ResponseError, match="not an integer"):
        ask(("SET", "a", "x"), ("INCR", "a"), ("SET", "b", "y"))
    assert ask(("GET", "b"), ("GET", "a")) == [b"y", b"x"]


def test_a_script_that_the_server_does_not_know_is_sent_whole() -> None:
    told = script("return {KEYS[1], ARGV[1]}", ["key"], [7])
    for _ in range(2):
        client().script_flush()
        assert ask(("SET", "a", 1), told, ("GET", "a")) == [b"OK", [b"key", b"7"], b"1"]


def test_its_refusal_is_not_kept_with_all_that_asked() -> None:
    """Its traceback would know the frames, which know it, until cycles are collected."""
    told = script("return {KEYS[1], ARGV[1]}", ["key"], [8])
    client().script_flush()
    gc.collect()
    gc.disable()
    try:
        ask(told)
        refusals = (
            redis.exceptions.ResponseError
        )  # of a proxy its class is not asked: it may be dead
        kept = [one for one in gc.get_objects() if issubclass(type(one), refusals)]
    finally:
        gc.enable()
    assert not kept


def test_work_meanwhile_may_ask_too() -> None:
    ask(("SET", "a", 1), ("SET", "b", 2))
    assert ask_meanwhile([("GET", "a")], lambda: ask(("GET", "b"))) == ([b"1"], [b"2"])
    assert ask(("GET", "a")) == [b"1"]


def test_the_answer_that_failed_work_left_is_not_the_next_ones() -> None:
    def fail() -> None:
        raise KeyError("work")

    ask(("SET", "a", 1), ("SET", "b", 2))
    with pytest.raises(KeyError):
        ask_meanwhile([("GET", "a")], fail)
    assert ask(("GET", "b")) == [b"2"]


def test_a_connection_that_the_server_closed_is_made_anew() -> None:
    ask(("SET", "a", 1))
    client().client_kill_filter(_type="normal", skipme=True)
    assert ask(("GET", "a")) == [b"1"]


def test_each_thread_hears_its_own_answers() -> None:
    heard: dict[int, list[list[object]]] = {}

    def listen(number: int) -> None:
        heard[number] = [ask(("ECHO", number)) for _ in range(50)]

    threads = [threading.Thread(target=listen, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == {number: [[str(number).encode()]] * 50 for number in range(8)}


def test_threads_that_end_leave_nothing_counted() -> None:
    """As many as any pool of connections has: a page that looks every second has one each."""
    for number in range(150):
        thread = threading.Thread(target=ask, args=(("SET", "number", number),))
        thread.start()
        thread.join()
    assert ask(("GET", "number")) == [b"149"]
    assert client().info("clients")["connected_clients"] < 20


def test_a_server_that_was_away_for_long_is_asked_again(settings: Any, tmp_path: Path) -> None:
    there = urlsplit(settings.WEBPOOL_REDIS_URL).path
    settings.WEBPOOL_REDIS_URL = f"unix://{tmp_path}/valkey"
    client.cache_clear()
    try:
        for _ in range(150):
            with pytest.raises(redis.exceptions.ConnectionError):
                ask(("PING",))
        (tmp_path / "valkey").symlink_to(there)
        assert ask(("PING",)) == [b"PONG"]
    finally:
        client.cache_clear()


def test_a_script_is_done_whatever_else_was_refused() -> None:
    client().script_flush()
    told = script("return redis.call('SET', KEYS[1], 1)", ["told"])
    with pytest.raises(redis.exceptions.ResponseError, match="not an integer"):
        ask(("SET", "a", "x"), ("INCR", "a"), told)
    assert ask(("GET", "told")) == [b"1"]
