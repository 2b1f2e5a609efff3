"""Kill a process of a running stack while it computes, and check what became of the run."""

from __future__ import annotations

import datetime as dt
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import psutil

from inference.zoo.micro import slow
from tests.support.doors import upload
from tests.support.stack import RunningStack
from webpool_site.lab.faults.targets import Target, Targets

# From the kill to the answer: seconds on a quiet machine. Two pools share two cores in these tests, where a
# browser with its worker needs up to 70 s to start; how fast recovery is, `make bench` and the validator say.
WITHIN_S = 180.0
ROWS = np.random.default_rng(1).standard_normal((64, 512)).astype(np.float32)


def slow_model(folder: Path, *, times: int = 1) -> Path:
    """It computes for so many seconds or two in WebAssembly."""
    return slow(folder / "slow.onnx", matmuls=800 * times)


def right_answer(model: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": ROWS})[0]


def start(
    folder: Path, model: Path, browsers: Sequence[str], *, backends: str = "wasm", **env: str
) -> RunningStack:
    """A pool with the slow model."""
    running = RunningStack(
        folder / "home", browsers=",".join(browsers), backends=backends, extra_env=env
    )
    running.migrate()
    running.start()
    add(running, model, "slow")
    return running


def add(pool: RunningStack, model: Path, name: str) -> None:
    """Register a model with a pool that runs: sooner done than by the command."""
    answer = upload(pool, model, name)
    assert answer.status == 201, answer.body


def submit(
    pool: RunningStack, browsers: Sequence[str], *, model: str = "slow", **options: Any
) -> str:
    """Start a run that goes to the first of the browsers, whatever they went through in other tests."""
    for browser in browsers:
        pool.post(f"/api/browsers/{browser}/breaker/reset/", {})
    return pool.submit(model, {"x": ROWS}, browsers=list(browsers), platform="wasm", **options)


def wait_computing(pool: RunningStack, run_id: str, browser: str) -> None:
    """Wait until a shard is claimed by that browser, and a moment more."""
    wait_claimed(pool, run_id, browser)
    time.sleep(0.4)


def wait_claimed(pool: RunningStack, run_id: str, browser: str) -> None:
    deadline = time.monotonic() + WITHIN_S  # a browser that was hurt before may still come back
    while time.monotonic() < deadline:
        shards = pool.get(f"/api/runs/{run_id}/")["shards"]
        if any(s["state"] == "running" and s["browser"] == browser for s in shards):
            return
        time.sleep(0.02)
    raise AssertionError(f"no shard was computed by {browser}\n{pool.logs()}")


def process_of(pool: RunningStack, browser: str, role: str) -> psutil.Process:
    """The worker, its driver, the browser proper, its GPU process or the process of the page."""
    return Targets(pool.home).find(Target(role), browser)


class Kill:
    """Hurt a process with all that hangs on it, and measure from then on."""

    def __init__(self, process: psutil.Process, number: signal.Signals = signal.SIGKILL) -> None:
        self._what = f"{number.name} of {process.name()}"
        self._tree = [process, *process.children(recursive=True)]
        self._at = dt.datetime.now(dt.UTC)
        process.send_signal(number)

    def report(self, run: dict[str, Any]) -> None:
        """Say how long it took (`pytest -rP` shows it): within bounds."""
        moved = max(self._since(shard["queued_at"]) for shard in run["shards"])
        ended = self._since(run["finished_at"])
        print(f"RECOVERY {self._what}: last dispatch {moved:.2f} s, answer {ended:.2f} s after it")
        assert ended < WITHIN_S

    def _since(self, moment: str) -> float:
        return (dt.datetime.fromisoformat(moment) - self._at).total_seconds()

    def nothing_left(self) -> bool:
        return not psutil.wait_procs(self._tree, timeout=30)[1]


def succeeded_once(run: dict[str, Any]) -> bool:
    outcomes = [[a["outcome"] for a in shard["attempt_rows"]] for shard in run["shards"]]
    return all(of_shard.count("succeeded") == 1 for of_shard in outcomes)


def check(pool: RunningStack, run: dict[str, Any], answer: np.ndarray) -> None:
    """The answer is right and recorded once."""
    assert run["state"] == "succeeded", f"{run['error']}\n{pool.logs()}"
    assert succeeded_once(run), run["shards"]
    np.testing.assert_allclose(pool.outputs(run["id"])["y"], answer, atol=1e-3)
