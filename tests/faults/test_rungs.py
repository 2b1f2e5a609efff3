"""Each rung of the ladder is the one that repairs some real fault, and no lower one does.

A lost GPU device, which a new engine repairs, is in test_device_loss.py.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from inference.zoo.micro import slow
from tests.support.doors import wait_for
from tests.support.faults import WITHIN_S, add, check, process_of, right_answer, submit
from tests.support.stack import RunningStack
from webpool_site.lab.faults.injection import Fault, inject

HURT, OTHER = "chromium", "firefox"
MODEL = "quick"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It is computed before and after a fault, never meanwhile: nothing is won by its being slow.

    Nor are standbys loaded meanwhile: a fetch that falls silent takes another rung.
    """
    return slow(tmp_path_factory.mktemp("model") / "quick.onnx", matmuls=20)


@pytest.fixture(scope="module")
def answer(model: Path) -> np.ndarray:
    return right_answer(model)


@pytest.fixture(scope="module")
def pool(pair: RunningStack, model: Path) -> RunningStack:
    add(pair, model, MODEL)
    return pair


def compute(pool: RunningStack, browser: str, answer: np.ndarray) -> None:
    check(pool, pool.wait_run(submit(pool, [browser], model=MODEL)), answer)


def incidents(pool: RunningStack) -> list[dict[str, Any]]:
    return pool.get(f"/api/browsers/{HURT}/")["incidents"][::-1]


def repaired_by(
    pool: RunningStack, known: int, within_s: float = WITHIN_S
) -> list[tuple[str, bool]]:
    """The rungs that were tried since, once one has helped."""
    until = time.monotonic() + within_s
    while True:
        tried = [(one["rung"], one["repaired"]) for one in incidents(pool)[known:]]
        if tried and tried[-1][1]:
            return tried
        assert time.monotonic() < until, f"{tried}\n{pool.logs()}"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("role", "fault", "expected"),
    [
        ("worker", Fault.CUT, ["ping"]),
        ("worker", Fault.SILENCE, ["reconnect"]),
        ("page", Fault.KILL, ["refresh"]),
        ("browser", Fault.KILL, ["restart"]),
        ("browser", Fault.STOP, ["restart"]),
    ],
)
def test_a_fault_is_repaired_by_its_rung(
    pool: RunningStack, answer: np.ndarray, role: str, fault: Fault, expected: list[str]
) -> None:
    pool.wait_ready()
    compute(pool, HURT, answer)
    gentle = expected[-1] in ("ping", "reconnect")
    if gentle:
        wait_for(lambda: loaded(pool, OTHER) <= loaded(pool))
    proper, known = process_of(pool, HURT, "browser"), len(incidents(pool))
    loads = loaded(pool)
    inject(process_of(pool, HURT, role), fault)
    tried = repaired_by(pool, known)
    assert [rung for rung, _ in tried if rung not in ("ping", *expected)] == []
    assert tried[-1] == (expected[-1], True)
    assert all(not helped for _, helped in tried[:-1])
    pool.wait_ready()
    assert (process_of(pool, HURT, "browser") == proper) == (expected[-1] != "restart")
    if gentle:
        assert loaded(pool) >= loads, "no model was lost for it"
    compute(pool, HURT, answer)


def loaded(pool: RunningStack, browser: str = HURT) -> set[str]:
    live = pool.get(f"/api/browsers/{browser}/")["live"]
    return {model["sha256"] for model in live["loaded"]}


def test_a_browser_that_cannot_be_started_hands_over_and_is_quarantined_until_it_can(
    pool: RunningStack, answer: np.ndarray
) -> None:
    pool.wait_ready()
    compute(pool, HURT, answer)
    known, worker = len(incidents(pool)), process_of(pool, HURT, "worker")
    private = pool.home / "profiles" / HURT
    hidden = private.with_name("hidden")
    private.rename(hidden)
    private.write_text("in the way of every start")
    try:
        inject(process_of(pool, HURT, "browser"), Fault.KILL)
        assert repaired_by(pool, known)[-2:] == [("restart", False), ("hand_over", True)]
        pinned = submit(pool, [HURT], model=MODEL)  # it is expected back, so far
        until = time.monotonic() + 120
        while incidents(pool)[-1]["rung"] != "quarantine":
            assert time.monotonic() < until, pool.logs()
            time.sleep(0.2)
        assert incidents(pool)[-1]["repaired"] is True
        assert "could not be started" in pool.get(f"/api/browsers/{HURT}/")["drain_reason"]
        psutil.wait_procs([worker], timeout=WITHIN_S)
        assert not worker.is_running(), "another worker tries from then on"
        failed = wait_for(lambda: (row := pool.browser(HURT))["state"] == "failed" and row)
        assert failed["reason"]
        given_up = pool.wait_run(pinned)
        assert (given_up["state"], given_up["error_category"]) == ("failed", "no_browser")
        compute(pool, OTHER, answer)
    finally:
        private.unlink()
    pool.wait_ready()
    assert pool.get(f"/api/browsers/{HURT}/")["drain_reason"] == ""
    compute(pool, HURT, answer)
