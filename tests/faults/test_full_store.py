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
from tests.support.faults import add
from tests.support.pools import stop
from tests.support.stack import RunningStack
from webpool_site import valkey

CAP_MB = 32
BIG = np.ones(2**18, np.float32)  # 1 MB in, 1 MB out
BROWSER = "chromium"


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[RunningStack]:
    running = RunningStack(
        tmp_path / "home",
        browsers=BROWSER,
        backends="wasm",
        extra_env={"WEBPOOL_REDIS_MAXMEMORY_MB": str(CAP_MB)},
    )
    running.migrate()
    running.start()
    add(running, add_one(tmp_path / "add.onnx"), "add")
    yield running
    stop(running)


def ask(pool: RunningStack) -> str | tuple[int, dict[str, Any]]:
    """How a run ended, whose answer stays in the store; or what was said when it was not taken."""
    try:
        return str(pool.wait_run(pool.submit("add", {"x": BIG}, platform="wasm"))["state"])
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def test_a_store_that_is_full_refuses_and_the_pool_lives(pool: RunningStack) -> None:
    store = redis.Redis.from_url(valkey.url(pool.home))
    for _ in range(CAP_MB):
        answer = ask(pool)
        if answer == "failed":  # its inputs found room, its outputs did not
            fill(store)
        elif answer != "succeeded":
            break
    assert not isinstance(answer, str), "the store never got full"
    status, said = answer
    assert status == 503, said
    assert "tensor store" in said["error"], said
    runs = pool.get("/api/runs/?limit=1000")["results"]
    assert all(run["state"] in ("succeeded", "failed") for run in runs)
    assert {r["error_category"] for r in runs if r["state"] == "failed"} <= {"out_of_memory"}

    # What was refused left nothing behind.
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
    assert ask(pool) == "succeeded"
