"""Kill -9 of real processes while they compute: the answer is right, recorded once, nothing is left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.support.faults import (
    ROWS,
    WITHIN_S,
    Kill,
    add,
    check,
    process_of,
    start,
    submit,
    wait_computing,
)
from tests.support.pools import stop
from tests.support.stack import ROOT, RunningStack
from tests.support.store import wait_written
from webpool_site import valkey

BROWSERS = ("chromium", "firefox")
STILL_WELL_S = 1.8  # the supervisor replaces what stands still for 2 s


@pytest.fixture(scope="module")
def pool(pair: RunningStack, model: Path) -> RunningStack:
    add(pair, model, "slow")
    for browser in BROWSERS:  # each holds the model, so that a second is a second
        assert pair.wait_run(submit(pair, [browser]))["state"] == "succeeded"
    return pair


@pytest.fixture
def unhurt(tmp_path: Path, model: Path) -> Iterator[RunningStack]:
    """Another pool, which nobody killed anything of yet."""
    running = start(tmp_path, model, BROWSERS)
    yield running
    stop(running)


@pytest.mark.soak(
    "up to 20 kills; what history makes of failures: tests/django/test_history_answers.py"
)
def test_history_recommends_another_browser_after_kills(unhurt: RunningStack) -> None:
    """Whichever is the best at first: it is killed while it computes until it is no longer recommended."""
    pool = unhurt

    def recommended(computations: int) -> str:
        """What is recommended once history has so many computations, failed ones included."""
        until = time.monotonic() + 60
        while True:
            pool.manage("history", "--recompute", "--json")
            asked = ("recommend", "--type", "other", "--model", "slow", "--json")
            found = json.loads(pool.manage(*asked, check=False).stdout)
            arms = found["config"]["evidence"] if found["known"] else []
            if sum(arm["successes"] + arm["failures"] for arm in arms) >= computations:
                return str(found["recommended_browser"])
            assert time.monotonic() < until, f"{found}\n{pool.logs()}"

    pool.wait_ready()
    for browser in BROWSERS:
        for _ in range(5):
            assert pool.wait_run(submit(pool, [browser]))["state"] == "succeeded"
    computations = len(pool.get("/api/runs/?limit=1000&model=slow")["results"])
    best = recommended(computations)
    other = next(name for name in BROWSERS if name != best)
    kills = 0
    while recommended(computations + kills) == best:
        assert kills < 20
        pool.wait_ready()
        run_id = submit(pool, [best, other])
        wait_computing(pool, run_id, best)
        process_of(pool, best, "page").kill()
        kills += 1
        assert pool.wait_run(run_id)["state"] == "succeeded"
    print(f"HISTORY {best} was recommended, and {other} after {kills} kills of {best}")
    assert kills > 0
    assert recommended(computations + kills) == other
    pool.wait_ready()


_ALSO = pytest.mark.soak(
    "each part is killed in one browser already, and each browser in some part"
)
CASES = [
    ("chromium", "browser"),
    ("chromium", "worker"),
    ("chromium", "gpu"),
    ("firefox", "driver"),
    ("firefox", "page"),
    pytest.param("firefox", "browser", marks=_ALSO),
    pytest.param("firefox", "worker", marks=_ALSO),
    pytest.param("chromium", "driver", marks=_ALSO),
    pytest.param("chromium", "page", marks=_ALSO),
]


@pytest.mark.parametrize(("browser", "role"), CASES)
def test_a_kill_while_computing_costs_no_answer(
    pool: RunningStack,
    answer: np.ndarray,
    browser: str,
    role: str,
) -> None:
    other = next(name for name in BROWSERS if name != browser)
    pool.wait_ready()
    run_id = submit(pool, [browser, other])
    wait_computing(pool, run_id, browser)
    kill = Kill(process_of(pool, browser, role))
    run = pool.wait_run(run_id)
    check(pool, run, answer)
    kill.report(run)
    assert kill.nothing_left()
    (shard,) = run["metrics"]["shards"]
    if role != "gpu":  # WebAssembly does not need it
        assert shard["browser"] == other
        assert [event["browser"] for event in shard["recovery_events"]] == [browser]
    pool.wait_ready()  # the pool heals


def test_a_chain_of_shards_goes_on_from_the_last_activation(
    pool: RunningStack, answer: np.ndarray
) -> None:
    pool.wait_ready()
    run_id = submit(pool, ["chromium", "firefox"], strategy="layer", shards=2)
    wait_computing(pool, run_id, "firefox")
    kill = Kill(process_of(pool, "firefox", "worker"))
    run = pool.wait_run(run_id)
    check(pool, run, answer)
    kill.report(run)
    assert [shard["attempts"] for shard in run["shards"]] == [1, 2]


def test_a_split_batch_that_loses_a_part_is_joined_all_the_same(
    pool: RunningStack, answer: np.ndarray
) -> None:
    pool.wait_ready()
    run_id = submit(pool, ["chromium", "firefox"], strategy="data", shards=2)
    wait_computing(pool, run_id, "firefox")
    kill = Kill(process_of(pool, "firefox", "worker"))
    run = pool.wait_run(run_id)
    check(pool, run, answer)
    kill.report(run)


@pytest.mark.parametrize("service", ["control", "web", "valkey"])
def test_a_service_that_dies_while_a_run_computes_costs_no_answer(
    pool: RunningStack, answer: np.ndarray, service: str
) -> None:
    pool.wait_ready()
    run_id = submit(pool, ["chromium", "firefox"], strategy="layer", shards=2)
    wait_computing(pool, run_id, "chromium")
    wait_written(valkey.url(pool.home))
    kill = Kill(psutil.Process(pool.pid(service)))
    run = pool.wait_run(run_id)
    check(pool, run, answer)
    kill.report(run)
    assert [shard["attempts"] for shard in run["shards"]] == [1, 1], "nothing was computed twice"
    pool.wait_ready()
    again = pool.wait_run(submit(pool, ["chromium"]))
    check(pool, again, answer)


def test_a_caller_that_waits_is_answered_while_valkey_dies(
    pool: RunningStack, answer: np.ndarray, tmp_path: Path
) -> None:
    """`manage.py infer` waits on Redis for the end of its run."""
    pool.wait_ready()
    np.savez(tmp_path / "x.npz", x=ROWS)
    caller = subprocess.Popen(
        [sys.executable, "manage.py", "infer", "slow", "--input", str(tmp_path / "x.npz"),
         "--output", str(tmp_path / "y.npz"), "--browsers", "firefox"],
        cwd=ROOT, env=pool.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while not (rows := pool.get("/api/runs/?state=running")["results"]):
        assert caller.poll() is None, caller.communicate()
        time.sleep(0.05)
    wait_computing(pool, rows[0]["id"], "firefox")
    wait_written(valkey.url(pool.home))
    Kill(psutil.Process(pool.pid("valkey")))
    said, _ = caller.communicate(timeout=180)
    assert caller.returncode == 0, said
    np.testing.assert_allclose(np.load(tmp_path / "y.npz")["y"], answer, atol=1e-3)


def test_a_shard_pinned_to_a_browser_that_died_waits_for_it(
    pool: RunningStack, answer: np.ndarray
) -> None:
    pool.wait_ready()
    run_id = pool.submit("slow", {"x": ROWS}, pins={"0": "firefox/wasm"})
    wait_computing(pool, run_id, "firefox")
    kill = Kill(process_of(pool, "firefox", "worker"))
    run = pool.wait_run(run_id)
    check(pool, run, answer)
    kill.report(run)
    assert run["shards"][0]["browser"] == "firefox"


def test_a_worker_that_stands_still_for_a_while_loses_nothing(
    pool: RunningStack, answer: np.ndarray
) -> None:
    """For longer: tests/faults/test_liveness.py. A pause that a busy machine draws out says nothing."""
    stood_still_s = float("inf")
    while stood_still_s > STILL_WELL_S:
        pool.wait_ready()
        run_id = submit(pool, ["firefox", "chromium"])
        wait_computing(pool, run_id, "firefox")
        worker = process_of(pool, "firefox", "worker")
        began = time.monotonic()
        worker.send_signal(signal.SIGSTOP)
        time.sleep(1.0)
        worker.send_signal(signal.SIGCONT)
        stood_still_s = time.monotonic() - began
        run = pool.wait_run(run_id)
        check(pool, run, answer)
    assert [a["outcome"] for a in run["shards"][0]["attempt_rows"]] == ["succeeded"]
    assert pool.pid("browser.firefox") == worker.pid


def test_a_stopped_control_worker_is_replaced_and_runs_end(
    pool: RunningStack, answer: np.ndarray
) -> None:
    pool.wait_ready()
    run_id = submit(pool, ["firefox", "chromium"], strategy="data", shards=2)
    control = psutil.Process(pool.pid("control"))
    hang = Kill(control, signal.SIGSTOP)  # the join of the two parts waits in its queue
    run = pool.wait_run(run_id)
    check(pool, run, answer)
    hang.report(run)
    assert hang.nothing_left()


def test_a_page_that_hangs_loses_its_shard_and_is_replaced(
    pool: RunningStack, answer: np.ndarray
) -> None:
    pool.wait_ready()
    run_id = submit(pool, ["firefox", "chromium"])
    wait_computing(pool, run_id, "firefox")
    hang = Kill(process_of(pool, "firefox", "page"), signal.SIGSTOP)
    run = pool.wait_run(run_id)
    check(pool, run, answer)
    hang.report(run)
    assert run["shards"][0]["browser"] == "chromium"
    pool.wait_ready()


@pytest.mark.soak("tests/faults/test_rungs.py kills an idle browser, too")
@pytest.mark.parametrize("browser", BROWSERS)
def test_a_crash_while_idle_is_repaired(pool: RunningStack, browser: str) -> None:
    pool.wait_ready()
    before = pool.browser(browser)["repairs"]
    began = time.monotonic()
    process_of(pool, browser, "browser").kill()
    while (row := pool.browser(browser))["repairs"] == before or row["state"] != "ready":
        assert time.monotonic() - began < WITHIN_S, f"{browser} was not repaired\n{pool.logs()}"
        time.sleep(0.1)
    print(f"RECOVERY idle crash of {browser}: {time.monotonic() - began:.2f} s")


@pytest.mark.soak("tests/faults/test_rungs.py has the same of chromium")
def test_a_browser_that_no_repair_helps_gets_a_new_worker(pool: RunningStack) -> None:
    pool.wait_ready()
    worker = psutil.Process(pool.pid("browser.firefox"))
    profile = pool.home / "profiles" / "firefox"
    profile.rename(pool.home / "profiles" / "moved")
    profile.write_text("a file where a folder is expected: no browser can start here")
    process_of(pool, "firefox", "browser").kill()
    psutil.wait_procs([worker], timeout=240)
    assert not worker.is_running(), pool.logs()
    deadline = time.monotonic() + 120
    while (row := pool.browser("firefox"))["state"] != "failed":
        assert time.monotonic() < deadline, row
        time.sleep(0.1)
    assert row["reason"]
    profile.unlink()
    pool.wait_ready()


@pytest.mark.soak(
    "that nothing is left: tests/integration/test_up.py; what runs in flight become: test_store_loss.py"
)
def test_every_process_dies_with_make_up_and_the_run_in_flight_is_finished_afterwards(
    pool: RunningStack, answer: np.ndarray
) -> None:
    pool.wait_ready()
    run_id = submit(pool, ["chromium", "firefox"])
    wait_computing(pool, run_id, "chromium")
    pool.kill()
    assert not pool.wait_gone(), "processes outlived kill -9 of `manage.py up`"
    began = time.monotonic()
    pool.start()
    print(f"RECOVERY everything: ready again after {time.monotonic() - began:.2f} s")
    run = pool.wait_run(run_id)
    check(pool, run, answer)
    print(f"RECOVERY everything: the run ended {time.monotonic() - began:.2f} s after the start")
