"""Dead and standing workers are noticed within seconds, busy ones are never taken for dead."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from tests.support.faults import (
    ROWS,
    Kill,
    check,
    process_of,
    start,
    submit,
    wait_computing,
)
from tests.support.pools import stop
from tests.support.stack import RunningStack
from webpool_site import valkey

pytestmark = pytest.mark.alone(
    "bounds of seconds, and all cores busy: other tests would fail it, and it them"
)
BROWSERS = ("chromium-npm", "firefox")
BUSY_S = 8.0
NOTICED_WITHIN_S = 15.0  # 3 s on a machine that is not shared


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[RunningStack]:
    running = start(tmp_path_factory.mktemp("liveness"), model, BROWSERS)
    try:
        for browser in BROWSERS:
            assert running.wait_run(submit(running, [browser]))["state"] == "succeeded"
        yield running
    finally:
        stop(running)


def lost_after(run: dict[str, Any], at: dt.datetime) -> tuple[float, str]:
    """Seconds from then until the attempt of the target was given up, and the reason."""
    (lost,) = [a for s in run["shards"] for a in s["attempt_rows"] if a["outcome"] == "lost"]
    finished = dt.datetime.fromisoformat(lost["finished_at"])
    return (finished - at).total_seconds(), lost["error"]


def test_a_stopped_worker_loses_its_work_at_once_and_is_replaced(
    pool: RunningStack, answer: np.ndarray
) -> None:
    pool.wait_ready()
    run_id = submit(pool, ["firefox", "chromium-npm"])
    wait_computing(pool, run_id, "firefox")
    worker = process_of(pool, "firefox", "worker")
    for below in worker.children(recursive=True):  # its browser stands still as well
        below.send_signal(signal.SIGSTOP)
    at = dt.datetime.now(dt.UTC)
    hang = Kill(worker, signal.SIGSTOP)
    run = pool.wait_run(run_id)
    check(pool, run, answer)
    noticed_s, why = lost_after(run, at)
    print(f"LIVENESS a stopped worker lost its shard after {noticed_s:.2f} s: {why}")
    assert noticed_s < NOTICED_WITHIN_S
    assert hang.nothing_left(), "stopped processes were left behind"
    pool.wait_ready()
    assert pool.pid("browser.firefox") != worker.pid


def test_a_worker_that_dies_without_its_supervisor_is_noticed_by_its_lease(
    pool: RunningStack, answer: np.ndarray
) -> None:
    """The supervisor stands still, as if the worker were another machine's."""
    pool.wait_ready()
    run_id = submit(pool, ["firefox", "chromium-npm"])
    wait_computing(pool, run_id, "firefox")
    assert pool.process is not None
    pool.process.send_signal(signal.SIGSTOP)
    try:
        at = dt.datetime.now(dt.UTC)
        kill = Kill(process_of(pool, "firefox", "worker"))
        run = pool.wait_run(run_id)
    finally:
        pool.process.send_signal(signal.SIGCONT)
    check(pool, run, answer)
    noticed_s, why = lost_after(run, at)
    print(f"LIVENESS a worker without supervisor lost its shard after {noticed_s:.2f} s: {why}")
    assert "lease" in why
    assert noticed_s < NOTICED_WITHIN_S
    assert kill.nothing_left()
    pool.wait_ready()


def _burn(until: float) -> None:
    while time.monotonic() < until:
        pass


def test_workers_on_busy_cores_are_not_taken_for_dead(
    pool: RunningStack, answer: np.ndarray
) -> None:
    pool.wait_ready()
    store = redis.Redis.from_url(valkey.url(pool.home))
    shortest = {browser: float("inf") for browser in BROWSERS}
    until = time.monotonic() + BUSY_S
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            for browser in BROWSERS:
                left_ms = store.pttl(f"webpool:browser:{browser}")
                shortest[browser] = min(shortest[browser], left_ms)

    spawn = multiprocessing.get_context("spawn")
    burners = [spawn.Process(target=_burn, args=(until,)) for _ in range(2 * (os.cpu_count() or 1))]
    watching = threading.Thread(target=watch)
    watching.start()
    for burner in burners:
        burner.start()
    runs: list[dict[str, Any]] = []
    try:
        while time.monotonic() < until:
            if len(runs) < 4:
                runs.append(pool.post("/api/runs/", _document()))
            time.sleep(0.5)
        ended = [pool.wait_run(run["id"]) for run in runs]
    finally:
        done.set()
        watching.join()
        for burner in burners:
            burner.join()
    print(f"LIVENESS under load a lease had at least {shortest} ms left (-2: it had ended)")
    for run in ended:
        check(pool, run, answer)
        outcomes = [a["outcome"] for s in run["shards"] for a in s["attempt_rows"]]
        assert outcomes == ["succeeded"], "a living worker was taken for dead"
    assert min(shortest.values()) > 0


def _document() -> dict[str, Any]:
    return {"model": "slow", "inputs": {"x": ROWS.tolist()}, "browsers": list(BROWSERS)}
