"""A store that may be killed: what it was told has to be in its file by then."""

from __future__ import annotations

import time

import redis


def wait_written(url: str) -> None:
    """While a file is being synced, Valkey holds later writes back for up to 2 s: a kill loses those."""
    store = redis.Redis.from_url(url)
    until = time.monotonic() + 60
    while store.info("persistence")["aof_buffer_length"]:
        assert time.monotonic() < until, "it holds writes back for a minute"
        time.sleep(0.01)
