"""Valkey is killed and comes back empty; everything is killed at once: no run hangs, the pool serves."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import signal
import time
import urllib.error
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.support.faults import (
    add,
    check,
    process_of,
    right_answer,
    slow_model,
    submit,
    wait_claimed,
)
from tests.support.stack import RunningStack
from tests.support.store import wait_written
from webpool_site import valkey

FIRST, SECOND, LONG = "chromium", "firefox", "slow-long"
# That it serves again and that every run ends; how soon, is printed, and measured where nothing else runs.
SERVES_WITHIN_S = ENDS_WITHIN_S = 180.0
WAYS: dict[str, dict[str, Any]] = {
    "computed": {"browsers": [FIRST], "model": LONG},
    "queued": {"browsers": [FIRST]},
    "chained": {"browsers": [SECOND, FIRST], "model": LONG, "strategy": "layer", "shards": 2},
    "split": {"browsers": [FIRST, SECOND], "strategy": "data", "shards": 2},
}


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in flight must still be so when the last of it was asked for, however fast the machine is."""
    return slow_model(tmp_path_factory.mktemp("long"), times=4)


@pytest.fixture(scope="module")
def answers(long: Path, answer: np.ndarray) -> dict[str, np.ndarray]:
    """By model."""
    return {"slow": answer, LONG: right_answer(long)}


@pytest.fixture(scope="module")
def pool(pair: RunningStack, model: Path, long: Path) -> RunningStack:
    add(pair, model, "slow")
    add(pair, long, LONG)
    # Whatever a run needs for the first time (loading, a plan, its shards' proofs) is done before.
    for warm in (*WAYS.values(), {"browsers": [SECOND]}):
        run = pair.wait_run(submit(pair, **warm))
        assert run["state"] == "succeeded", f"{warm}: {run['error']}\n{pair.logs()}"
    return pair


def lose_store(pool: RunningStack) -> None:
    """Kill Valkey and remove its data before anybody can start it again."""
    assert pool.process is not None
    supervisor = psutil.Process(pool.process.pid)
    supervisor.suspend()
    try:
        process_of(pool, "", "valkey").kill()
        shutil.rmtree(pool.home / "valkey" / "appendonlydir")
    finally:
        supervisor.resume()


def in_flight(pool: RunningStack) -> dict[str, str]:
    """Runs at every stage: computed, waiting behind that, and waiting for an activation."""
    computed = submit(pool, **WAYS["computed"])
    wait_claimed(pool, computed, FIRST)
    queued = submit(pool, **WAYS["queued"])
    chained = submit(pool, **WAYS["chained"])
    split = submit(pool, **WAYS["split"])
    wait_claimed(pool, chained, SECOND)
    return {"computed": computed, "queued": queued, "chained": chained, "split": split}


def wait_all(pool: RunningStack, runs: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    return {name: pool.wait_run(run, timeout_s=ENDS_WITHIN_S) for name, run in runs.items()}


def check_kept(pool: RunningStack, run: dict[str, Any], answer: np.ndarray) -> None:
    """The answer is right, or was in the store when that was emptied, and its caller is told so."""
    try:
        check(pool, run, answer)
    except urllib.error.HTTPError as gone:
        assert gone.code == 410, gone
        assert "are gone" in gone.read().decode()


def seconds_until_served(pool: RunningStack, answer: np.ndarray, since: float) -> float:
    """Until a request made after the loss has its right answer; refusals meanwhile are asked again."""
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            run = pool.wait_run(submit(pool, [FIRST, SECOND]))
            check(pool, run, answer)
            return time.monotonic() - since
        assert time.monotonic() - since < SERVES_WITHIN_S, pool.logs()
        time.sleep(0.1)


def test_a_store_that_comes_back_empty_costs_only_what_was_in_it(
    pool: RunningStack, answers: dict[str, np.ndarray]
) -> None:
    pool.wait_ready()
    runs = in_flight(pool)
    began = time.monotonic()
    lose_store(pool)
    served = seconds_until_served(pool, answers["slow"], began)
    print(f"RECOVERY empty store: served after {served:.2f} s")
    ended = wait_all(pool, runs)
    for name, run in ended.items():
        if run["state"] == "succeeded":
            check_kept(pool, run, answers[run["model"]])
        else:
            assert run["error_category"] == "tensor_lost", f"{name}: {run['error']}"
            assert "the store has nothing" in run["error"], "the reason is told"
    assert ended["queued"]["state"] == "failed", "its inputs were in the store and nowhere else"
    assert pool.get("/api/runs/?state=running")["results"] == []
    # Both browsers take work as before, and a split run is joined.
    ways: list[dict[str, Any]] = [{"strategy": "layer"}, {"strategy": "data"}]
    for way in ways:
        check(pool, pool.wait_run(submit(pool, [FIRST, SECOND], shards=2, **way)), answers["slow"])


@pytest.mark.soak("tests/faults/test_kills.py kills Valkey, too, while a run computes")
def test_a_store_that_comes_back_with_its_data_is_served_from_at_once(
    pool: RunningStack, answer: np.ndarray
) -> None:
    pool.wait_ready()
    wait_written(valkey.url(pool.home))
    began = time.monotonic()
    process_of(pool, "", "valkey").kill()
    served = seconds_until_served(pool, answer, began)
    print(f"RECOVERY store restarted: served after {served:.2f} s")


def test_a_store_that_stands_still_for_longer_than_a_lease_makes_nobody_look_dead(
    pool: RunningStack, answers: dict[str, np.ndarray]
) -> None:
    pool.wait_ready()
    run_id = submit(pool, [FIRST, SECOND], model=LONG)
    wait_claimed(pool, run_id, FIRST)
    wait_written(valkey.url(pool.home))
    store = process_of(pool, "", "valkey")
    store.suspend()  # the supervisor ends it after 2 s, and starts another with its data
    run = pool.wait_run(run_id)
    assert not store.is_running()
    check(pool, run, answers[LONG])
    assert [shard["attempts"] for shard in run["shards"]] == [1], "it was not computed twice"
    # The leases that the new server found in its data end, before they are renewed a moment later.
    seconds_until_served(pool, answers["slow"], time.monotonic())


def test_after_a_power_cut_every_run_ends_without_anybody_s_help(
    pool: RunningStack, answers: dict[str, np.ndarray]
) -> None:
    pool.wait_ready()
    runs = in_flight(pool)
    wait_written(valkey.url(pool.home))
    everything = pool.processes()
    for process in everything:  # first nobody can react to the death of another
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGSTOP)
    for process in everything:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    assert pool.process is not None
    pool.process.wait()
    assert not pool.wait_gone()
    pool.start()
    for run in wait_all(pool, runs).values():
        check(pool, run, answers[run["model"]])
    assert pool.get("/api/runs/?state=running")["results"] == []
