"""What one browser computes is loaded in another before it is needed there."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest

from inference.zoo.micro import slow
from tests.support.faults import Kill, add, check, process_of, submit, wait_computing
from tests.support.stack import RunningStack

FIRST, SECOND, NAME = "chromium", "firefox", "standby"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that no browser of the pool was asked for yet."""
    return slow(tmp_path_factory.mktemp("model") / "standby.onnx", matmuls=801)


def test_a_run_goes_on_where_its_model_was_loaded_beforehand(
    pair: RunningStack, model: Path, answer: Any
) -> None:
    pool, sha256 = pair, hashlib.sha256(model.read_bytes()).hexdigest()

    def holders() -> list[str]:
        rows = pool.browser_rows()
        return [r["id"] for r in rows if sha256 in {m["sha256"] for m in r["live"]["loaded"]}]

    add(pool, model, NAME)
    assert holders() == []
    for _ in range(3):
        check(pool, pool.wait_run(submit(pool, [FIRST], model=NAME)), answer)
    until = time.monotonic() + 60
    while SECOND not in holders():
        assert time.monotonic() < until, pool.logs()
        time.sleep(0.1)
    run_id = submit(pool, [FIRST, SECOND], model=NAME)
    wait_computing(pool, run_id, FIRST)
    kill = Kill(process_of(pool, FIRST, "browser"))
    run = pool.wait_run(run_id)
    check(pool, run, answer)
    kill.report(run)
    (shard,) = run["shards"]
    last = shard["attempt_rows"][-1]
    assert (last["browser"], last["outcome"]) == (SECOND, "succeeded")
    assert last["load_ms"] is None, "it was there"
