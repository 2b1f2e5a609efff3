"""The embedded Valkey: what it was told survives kill -9, and damage is told apart from a cut end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import redis

from browsers.state.live import _PUBLISH
from tests.support.callers import fill
from tests.support.store import wait_written
from webpool_site.valkey import EmbeddedValkey, ValkeyError


@pytest.fixture
def server(tmp_path: Path):
    with EmbeddedValkey(tmp_path, maxmemory_mb=16) as server:
        yield server


def client(server: EmbeddedValkey) -> redis.Redis:
    return redis.Redis.from_url(server.url)


def append_only_file(server: EmbeddedValkey) -> Path:
    return next((server.home / "valkey" / "appendonlydir").glob("*.incr.aof"))


def test_what_was_written_survives_a_kill(server: EmbeddedValkey) -> None:
    for number in range(100):
        client(server).set(f"key-{number}", b"x" * 1000)
    wait_written(server.url)
    server.kill()
    server.start()
    assert client(server).dbsize() == 100


def test_it_refuses_above_its_cap_and_never_evicts(server: EmbeddedValkey) -> None:
    one = client(server)
    one.set("kept", 1)
    with pytest.raises(redis.OutOfMemoryError):
        for number in range(100):
            one.set(f"big-{number}", b"x" * 2**20)
    assert one.get("kept") == b"1"


def _takes(one: redis.Redis) -> bool:
    try:
        return bool(one.set("webpool:browser:chromium", "{}", px=3000))
    except redis.OutOfMemoryError:
        return False


def test_a_full_one_still_takes_a_browser_s_lease(server: EmbeddedValkey) -> None:
    one = client(server)
    until = time.monotonic() + 30
    while _takes(one):  # its own buffers shrink now and then, which makes room again
        assert time.monotonic() < until
        fill(one)
    one.register_script(_PUBLISH)(
        keys=["webpool:browser:chromium", "webpool:browsers", "webpool:breakers:chromium"],
        args=["{}", 3000, "chromium"],
    )
    assert one.get("webpool:browser:chromium") == b"{}"


def test_a_record_that_was_cut_off_does_not_stop_it(server: EmbeddedValkey) -> None:
    client(server).set("kept", 1)
    client(server).set("cut", b"x" * 1000)
    wait_written(server.url)
    server.kill()
    path = append_only_file(server)
    path.write_bytes(path.read_bytes()[:-500])
    server.start()
    assert client(server).get("kept") == b"1"
    assert client(server).get("cut") is None


def test_a_damaged_file_is_an_error_that_says_what_to_do(server: EmbeddedValkey) -> None:
    for number in range(100):
        client(server).set(f"key-{number}", b"x" * 100)
    server.stop()
    path = append_only_file(server)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 500] = b"?" * 500
    path.write_bytes(data)
    with pytest.raises(ValkeyError, match=r"cannot read .*\.incr\.aof.*--fix.*move"):
        server.start()


def test_it_listens_on_no_port(server: EmbeddedValkey) -> None:
    assert client(server).config_get("port") == {"port": "0"}
