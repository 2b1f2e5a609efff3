"""Batch jobs and comparisons whose command, control worker and browser's worker are killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.graph.reference import equal, reference
from inference.zoo import micro
from tests.support.doors import wait_for
from tests.support.faults import add
from tests.support.stack import ROOT, RunningStack

COUNT = 160


@pytest.fixture(scope="module")
def pool(pair: RunningStack) -> RunningStack:
    add(pair, micro.chain(model_of(pair), size=64), "m")
    return pair


def model_of(pool: RunningStack) -> Path:
    return pool.home.parent / "m.onnx"


def done(pool: RunningStack, job_id: str) -> int:
    count: int = pool.get(f"/api/batches/{job_id}/")["batches"]["done"]
    return count


def wait_done(pool: RunningStack, job_id: str, count: int) -> None:
    deadline = time.monotonic() + 180
    while done(pool, job_id) < count:
        assert time.monotonic() < deadline, pool.logs()
        time.sleep(0.02)


def test_no_batch_is_lost_or_computed_twice_whoever_is_killed(
    pool: RunningStack, tmp_path: Path
) -> None:
    x = np.random.default_rng(2).standard_normal((COUNT, 64)).astype(np.float32)
    np.savez(tmp_path / "in.npz", x=x)
    args = ["run_batch", "m", "--input", str(tmp_path / "in.npz"), "--batch-size", "2"]
    command = subprocess.Popen(
        [sys.executable, "manage.py", *args, "--concurrency", "2"],
        cwd=ROOT, env=pool.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert command.stderr is not None
    job_id = command.stderr.readline().split()[1].rstrip(":")
    wait_done(pool, job_id, 3)
    command.kill()
    command.communicate()
    for name, more in (("control", 5), ("browser.firefox", 5), ("control", 5)):
        before = done(pool, job_id)
        os.kill(pool.pid(name), signal.SIGKILL)
        wait_done(pool, job_id, min(before + more, COUNT // 2))
    summary = json.loads(pool.manage(*args, "--json").stdout)
    assert (summary["job"], summary["state"]) == (job_id, "finished"), pool.logs()
    with np.load(tmp_path / "in.out.npz") as out:
        assert out["_item"].tolist() == list(range(COUNT))
        assert equal(out["y"], reference(model_of(pool), {"x": x})["y"])
    runs = pool.get("/api/runs/?limit=1000&model=m")["results"]
    succeeded = [run["owner"].partition("#")[0] for run in runs if run["state"] == "succeeded"]
    assert len(succeeded) == len(set(succeeded)) == COUNT // 2
    shards = pool.get("/api/shards/?limit=1000")["results"]
    outcomes = [[a["outcome"] for a in shard["attempt_rows"]] for shard in shards]
    assert all(of_shard.count("succeeded") <= 1 for of_shard in outcomes)


def test_a_comparison_goes_on_where_it_was_and_counts_each_run_once(pool: RunningStack) -> None:
    pool.wait_ready()  # also after a test that killed some of it
    asked = {"model": "m", "runs": 25, "backends": ["wasm"]}
    address = f"/api/comparisons/{pool.post('/api/comparisons/', asked)['id']}/"
    deadline = time.monotonic() + 180

    def look() -> dict[str, Any]:
        assert time.monotonic() < deadline, pool.logs()
        told: dict[str, Any] = pool.get(address)
        return told

    for _ in range(3):
        before = look()["runs_done"]
        while (told := look())["runs_done"] < before + 3 and told["state"] == "running":
            time.sleep(0.02)
        wait_for(lambda: control_was_killed(pool))
    while (told := look())["state"] == "running":
        time.sleep(0.05)
    assert [cell["state"] for cell in told["cells"]] == ["measured"] * 2, told
    assert [len(cell["samples_ms"]) for cell in told["cells"]] == [25, 25]
    counted = [run for cell in told["cells"] for run in cell["runs"]]
    assert len(counted) == len(set(counted)) == told["runs_done"] >= 52


def control_was_killed(pool: RunningStack) -> bool:
    """Not while another one is started after it was killed, nor while the record is still the dead one's."""
    try:
        os.kill(pool.pid("control"), signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True
