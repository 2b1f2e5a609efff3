"""Chromium's GPU process, killed while WebGPU computes in it: the device is lost, the answer is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from inference.zoo.micro import slow
from tests.support.faults import (
    ROWS,
    Kill,
    check,
    process_of,
    right_answer,
    start,
    wait_claimed,
)
from tests.support.pools import stop
from tests.support.stack import RunningStack

FIRST, SECOND = "chromium", "chromium-npm"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It computes for about a second on the software adapter."""
    return slow(tmp_path_factory.mktemp("model") / "slow.onnx", matmuls=20)


@pytest.fixture(scope="module")
def answer(model: Path) -> np.ndarray:
    return right_answer(model)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[RunningStack]:
    running = start(
        tmp_path_factory.mktemp("device"), model, [FIRST, SECOND], backends="wasm,webgpu"
    )
    try:
        for browser in (FIRST, SECOND):  # the first run compiles shaders
            assert running.wait_run(on_webgpu(running, browser))["state"] == "succeeded"
        yield running
    finally:
        stop(running)


def on_webgpu(pool: RunningStack, browser: str = "") -> str:
    return pool.submit("slow", {"x": ROWS}, pins={"0": f"{browser}/webgpu"})


def wait_gpu_computes(pool: RunningStack, run_id: str, browser: str) -> psutil.Process:
    """The GPU process once the run is claimed and computes in it: the adapter is software."""
    wait_claimed(pool, run_id, browser)
    gpu = process_of(pool, browser, "gpu")
    before = gpu.cpu_times().user
    deadline = time.monotonic() + 60
    while gpu.cpu_times().user < before + 0.3:
        assert time.monotonic() < deadline, f"{browser} does not compute on its GPU process"
        time.sleep(0.02)
    return gpu


def attempts(run: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    (shard,) = run["shards"]
    return [
        (row["browser"], row["outcome"], row["error_category"], row["backend"])
        for row in shard["attempt_rows"]
    ]


def repairs(pool: RunningStack, browser: str, *, but: int = 0) -> list[tuple[str, str, bool]]:
    """The browser's incidents but the first so many, oldest first: category, rung, repaired."""
    listed = pool.get(f"/api/browsers/{browser}/")["incidents"][::-1]
    return [(each["category"], each["rung"], each["repaired"]) for each in listed[but:]]


def test_a_run_pinned_to_webgpu_is_computed_again_by_a_new_engine(
    pool: RunningStack, answer: np.ndarray
) -> None:
    pool.wait_ready()
    proper = process_of(pool, FIRST, "browser")
    run_id = on_webgpu(pool, FIRST)
    kill = Kill(wait_gpu_computes(pool, run_id, FIRST))
    run = pool.wait_run(run_id)
    check(pool, run, answer)
    kill.report(run)
    assert kill.nothing_left()
    assert attempts(run) == [
        (FIRST, "failed", "device_lost", ""),
        (FIRST, "succeeded", "", "webgpu"),
    ]
    assert repairs(pool, FIRST) == [("device_lost", "restart_engine", True)]
    assert process_of(pool, FIRST, "browser") == proper, "the browser itself was not restarted"
    again = pool.wait_run(on_webgpu(pool, FIRST))
    check(pool, again, answer)
    assert attempts(again) == [(FIRST, "succeeded", "", "webgpu")]


def test_a_run_that_may_go_elsewhere_is_moved(pool: RunningStack, answer: np.ndarray) -> None:
    pool.wait_ready()
    known = len(repairs(pool, FIRST))
    run_id = pool.submit("slow", {"x": ROWS}, browsers=[FIRST, SECOND], platform="webgpu")
    kill = Kill(wait_gpu_computes(pool, run_id, FIRST))
    run = pool.wait_run(run_id)
    check(pool, run, answer)
    kill.report(run)
    assert attempts(run) == [
        (FIRST, "failed", "device_lost", ""),
        (SECOND, "succeeded", "", "webgpu"),
    ]
    pool.wait_ready()
    assert repairs(pool, FIRST, but=known) == [("device_lost", "restart_engine", True)]
    again = pool.wait_run(on_webgpu(pool, FIRST))
    check(pool, again, answer)
    assert attempts(again) == [(FIRST, "succeeded", "", "webgpu")]


def test_a_device_lost_while_idle_is_replaced_before_anybody_asks(
    pool: RunningStack, answer: np.ndarray
) -> None:
    pool.wait_ready()
    known = len(repairs(pool, FIRST))
    Kill(process_of(pool, FIRST, "gpu"))
    deadline = time.monotonic() + 60
    while not (done := repairs(pool, FIRST, but=known)):
        assert time.monotonic() < deadline, pool.logs()
        time.sleep(0.1)
    assert done == [("device_lost", "restart_engine", True)]
    pool.wait_ready()
    run = pool.wait_run(on_webgpu(pool, FIRST))
    check(pool, run, answer)
    assert attempts(run) == [(FIRST, "succeeded", "", "webgpu")]
