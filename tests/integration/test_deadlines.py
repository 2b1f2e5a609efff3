"""A model that computes for seconds, asked for an answer sooner: what the caller hears, and what goes on."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.support import small_models
from tests.support.faults import add
from tests.support.stack import RunningStack

DEADLINE_S = 1.0
TAKES_S = 6.0
STATE = np.eye(256, dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class Slow:
    """The slow model in one browser, and how many turns take it some `TAKES_S` seconds there."""

    stack: RunningStack
    browser: str
    turns: int

    def submit(self, turns: int, **options: Any) -> str:
        inputs: dict[str, np.ndarray] = {"times": np.array(turns, np.int64), "x": STATE}
        where = {"platform": "wasm", "browsers": [self.browser]}
        return self.stack.submit("slow", inputs, **where, **options)

    def wait_idle(self) -> None:
        """Wait until the browser is done with what came too late."""
        quick = self.stack.wait_run(self.submit(1))
        assert quick["state"] == "succeeded", quick["error"]


@pytest.fixture(scope="module")
def slow(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Slow:
    path = tmp_path_factory.mktemp("slow") / "slow.onnx"
    path.write_bytes(small_models.slow())
    add(stack, path, "slow")
    here = Slow(stack, stack.browser_rows()[0]["id"], 100)
    warm = [stack.wait_run(here.submit(here.turns)) for _ in range(3)][-1]
    (shard,) = warm["metrics"]["shards"]
    turns = math.ceil(here.turns * TAKES_S * 1000 / shard["compute_ms"])
    return dataclasses.replace(here, turns=turns)


def attempts(stack: RunningStack, run_id: str) -> list[dict[str, Any]]:
    """The attempts of the run's only shard, once there are any."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        (shard,) = stack.get(f"/api/runs/{run_id}/")["shards"]
        if shard["attempt_rows"]:
            break
        time.sleep(0.2)
    rows: list[dict[str, Any]] = shard["attempt_rows"]
    return rows


def test_a_v2_caller_is_told_at_the_deadline_and_the_answer_that_comes_later_is_superseded(
    slow: Slow,
) -> None:
    inputs = [triton.InferInput("times", [], "INT64"), triton.InferInput("x", [256, 256], "FP32")]
    inputs[0].set_data_from_numpy(np.array(slow.turns, np.int64))
    inputs[1].set_data_from_numpy(STATE)
    where = {"platform": "wasm", "browsers": slow.browser}
    address = f"127.0.0.1:{slow.stack.port}"
    with triton.InferenceServerClient(address, network_timeout=120) as client:
        began = time.monotonic()
        with pytest.raises(InferenceServerException) as caught:
            client.infer("slow", inputs, timeout=int(DEADLINE_S * 1e6), parameters=where)
        took = time.monotonic() - began
    assert caught.value.status() == "504"
    assert DEADLINE_S <= took < 30
    run = slow.stack.get("/api/runs/?model=slow&limit=1")["results"][0]
    assert (run["state"], run["error_category"]) == ("failed", "timeout")
    (late,) = attempts(slow.stack, run["id"])
    assert (late["outcome"], late["error"]) == ("superseded", "")
    assert late["finished_at"] > run["finished_at"] >= run["deadline_at"], "nobody waited for it"
    assert slow.stack.get(f"/api/runs/{run['id']}/")["state"] == "failed"


def test_a_run_over_rest_fails_at_its_deadline_and_has_no_outputs(slow: Slow) -> None:
    stack = slow.stack
    run = stack.wait_run(slow.submit(slow.turns, deadline_s=DEADLINE_S))
    assert (run["state"], run["error_category"], run["outputs"]) == ("failed", "timeout", {})
    slow.wait_idle()
    again = stack.get(f"/api/runs/{run['id']}/")
    assert (again["state"], again["outputs"]) == ("failed", {})


def test_the_command_says_that_the_deadline_passed_and_exits_with_1(
    slow: Slow, tmp_path: Path
) -> None:
    np.savez(tmp_path / "in.npz", times=np.int64(slow.turns), x=STATE)
    words = ["--input", str(tmp_path / "in.npz"), "--platform", "wasm", "--browsers", slow.browser]
    done = slow.stack.manage("infer", "slow", *words, "--deadline", str(DEADLINE_S), check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no answer by the deadline" in done.stderr
    slow.wait_idle()
