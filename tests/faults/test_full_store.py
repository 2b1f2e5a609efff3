"""A full pool, and Valkey at its memory cap: what does not fit is refused clearly; the pool goes on."""

from __future__ import annotations

import json
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import redis

from inference.zoo.micro import add_one, chain
from tests.support.callers import fill, question
from tests.support.doors import JSON, Answer, send
from tests.support.faults import add
from tests.support.pools import stop
from tests.support.stack import RunningStack
from webpool_site import valkey

CAP_MB, LIMIT = 32, 3
BIG = np.ones(2**18, np.float32)  # 1 MB in, 1 MB out
BROWSER = "chromium"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    folder = tmp_path_factory.mktemp("full")
    limits = {"WEBPOOL_REDIS_MAXMEMORY_MB": str(CAP_MB), "WEBPOOL_MAX_ACTIVE_RUNS": str(LIMIT)}
    running = RunningStack(folder / "home", browsers=BROWSER, backends="wasm", extra_env=limits)
    running.migrate()
    running.start()
    add(running, add_one(folder / "add.onnx"), "add")
    add(running, chain(folder / "chain.onnx"), "chain")
    yield running
    stop(running)


def test_beyond_the_limit_callers_are_told_when_to_come_back_and_nothing_is_stored(
    pool: RunningStack,
) -> None:
    pool.manage("drain", BROWSER)  # until all have asked, none of their runs ends
    document = json.dumps({"model": "chain", "inputs": {"x": question(0).tolist()}})

    def ask_at(_: int) -> Answer:
        return send(pool, "POST", "/api/runs/", document, JSON)

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(ask_at, range(20)))
    let_in = [answer.json()["id"] for answer in answers if answer.status == 202]
    assert len(let_in) == LIMIT
    for answer in answers:
        if answer.status != 202:
            assert (answer.status, answer.json()["category"]) == (429, "busy"), answer.body
            assert int(answer.headers["Retry-After"]) >= 1
    assert runs_of(pool, "chain") == LIMIT
    store = redis.Redis.from_url(valkey.url(pool.home))
    owners = {key.split(b":")[2].decode() for key in store.scan_iter("webpool:tensor:*")}
    assert owners <= set(let_in)
    pool.manage("drain", BROWSER, "--undo")
    for run_id in let_in:
        assert pool.wait_run(run_id)["state"] == "succeeded"
    assert ask_at(0).status == 202


def runs_of(pool: RunningStack, model: str) -> int:
    """Ask the ledger itself."""
    query = (
        "SELECT count(*) FROM inference_run WHERE model_id = "
        "(SELECT id FROM inference_onnxmodel WHERE name = ?)"
    )
    with sqlite3.connect(f"file:{pool.home / 'db.sqlite3'}?mode=ro", uri=True) as ledger:
        (count,) = ledger.execute(query, [model]).fetchone()
    return int(count)


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
