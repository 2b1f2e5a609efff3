"""What one browser computes is loaded in another before it is needed there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.faults import Kill, check, process_of, start, stop, submit, wait_computing
from tests.support.stack import RunningStack

FIRST, SECOND = "chromium", "firefox"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[RunningStack]:
    running = start(tmp_path_factory.mktemp("standbys"), model, (FIRST, SECOND))
    try:
        yield running
    finally:
        stop(running)


def test_a_run_goes_on_where_its_model_was_loaded_beforehand(
    pool: RunningStack, answer: Any
) -> None:
    for _ in range(3):
        check(pool, pool.wait_run(submit(pool, [FIRST])), answer)
    until = time.monotonic() + 60
    while not pool.get(f"/api/browsers/{SECOND}/")["live"]["loaded"]:
        assert time.monotonic() < until, pool.logs()
        time.sleep(0.1)
    run_id = submit(pool, [FIRST, SECOND])
    wait_computing(pool, run_id, FIRST)
    kill = Kill(process_of(pool, FIRST, "browser"))
    run = pool.wait_run(run_id)
    check(pool, run, answer)
    kill.report(run)
    (shard,) = run["shards"]
    last = shard["attempt_rows"][-1]
    assert (last["browser"], last["outcome"]) == (SECOND, "succeeded")
    assert last["load_ms"] is None, "it was there"
