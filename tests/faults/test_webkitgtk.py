"""WebKitGTK's worker and its processes, killed while they compute; Chromium goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.faults import (
    Kill,
    add,
    check,
    process_of,
    submit,
    wait_computing,
)
from tests.support.stack import RunningStack


@pytest.fixture(scope="module")
def pool(trio: RunningStack, model: Path) -> RunningStack:
    add(trio, model, "slow")
    return trio


@pytest.mark.parametrize(
    "role",
    ["page", "worker", pytest.param("browser", marks=pytest.mark.soak("its page dies with it"))],
)
def test_a_kill_while_computing_costs_no_answer(
    pool: RunningStack, answer: np.ndarray, role: str
) -> None:
    pool.wait_ready()
    run_id = submit(pool, ["webkitgtk", "chromium"])
    wait_computing(pool, run_id, "webkitgtk")
    kill = Kill(process_of(pool, "webkitgtk", role))
    run = pool.wait_run(run_id)
    check(pool, run, answer)
    kill.report(run)
    assert kill.nothing_left()
    assert run["shards"][0]["browser"] == "chromium"
    pool.wait_ready()
