"""Valkey at its memory cap: what does not fit is refused with a clear error; the pool itself goes on."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from inference.zoo.micro import add_one
from tests.support.callers import fill
from tests.support.faults import stop
from tests.support.stack import RunningStack
from webpool_site import valkey

CAP_MB = 32
BIG = np.ones(2**18, np.float32)  # 1 MB in, 1 MB out
BROWSER = "chromium"


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[RunningStack]:
    running = RunningStack(
        tmp_path / "home", browsers=BROWSER, extra_env={"WEBPOOL_REDIS_MAXMEMORY_MB": str(CAP_MB)}
    )
    running.migrate()
    running.manage("add_model", str(add_one(tmp_path / "add.onnx")), "--name", "add")
    running.start()
    yield running
    stop(running)


def refused(pool: RunningStack, array: np.ndarray) -> tuple[int, dict[str, Any]] | None:
    """Ask, and leave the answer in the store; what was said when it was not taken."""
    try:
        pool.wait_run(pool.submit("add", {"x": array}, platform="wasm"))
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)
    return None


def test_a_store_that_is_full_refuses_and_the_pool_lives(pool: RunningStack) -> None:
    until = time.monotonic() + 240
    while (refusal := refused(pool, BIG)) is None:
        assert time.monotonic() < until, "the store never got full"
    status, said = refusal
    assert status == 503, said
    assert "tensor store" in said["error"], said
    runs = pool.get("/api/runs/?limit=1000")["results"]
    assert all(run["state"] in ("succeeded", "failed") for run in runs)
    assert {r["error_category"] for r in runs if r["state"] == "failed"} <= {"out_of_memory"}

    # What was refused left nothing behind.
    store = redis.Redis.from_url(valkey.url(pool.home))
    owners = {key.split(b":")[2].decode() for key in store.scan_iter("webpool:tensor:*")}
    assert owners <= {run["id"] for run in runs}

    # Not a byte more: the worker's lease is kept all the same, so that the pool is whole.
    fill(store)
    time.sleep(5)
    live = pool.browser(BROWSER)["live"]
    assert live, "its lease expired"
    assert live["state"] == "ready"

    # Room again: they are taken again.
    store.unlink(*store.scan_iter("full-*"), *store.scan_iter("webpool:tensor:*"))
    assert refused(pool, BIG) is None
