"""A session with every installed browser: what it computes, refuses, loses and gets back.

One browser per kind serves the whole file, in the order of the tests; what breaks it comes last.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import pytest

from browsers.core.errors import (
    BrowserCapability,
    BrowserCrash,
    ConnectionLost,
    DeadlinePassed,
    DeviceLost,
    InternalError,
    InvalidInput,
    OutOfMemory,
    UnsupportedOperation,
)
from browsers.core.failures import Category
from browsers.core.placement_log import PROVIDERS
from browsers.drivers import Role
from browsers.session.deadline import Deadline
from tests.browser.bench import (
    EACH,
    OFFERS,
    Bench,
    assert_close,
    bench_with,
    reference,
    tried_in,
    values,
)
from tests.support import small_models

NUMBERS = np.random.default_rng(0)
ROWS = NUMBERS.standard_normal((4, 64)).astype(np.float32)


bench = bench_with(EACH)


# --- what it is ---


def test_every_backend_of_this_browser_answers_the_probe(bench: Bench) -> None:
    facts = bench.session.facts
    assert facts is not None
    assert facts.kind == bench.kind
    assert facts.version[0].isdigit()
    assert facts.threads == 2
    assert set(bench.healthy()) == OFFERS[bench.kind]
    times = [backend.probe_ms for backend in facts.healthy if backend.probe_ms is not None]
    assert times == sorted(times)
    assert len(times) == len(facts.healthy)
    for backend in facts.backends:
        assert (backend.probe_ms is None) == (not backend.probe_ok)
        assert (backend.error is None) == bool(backend.probe_ok)
        if backend.name == "webgpu" and backend.probe_ok:
            assert backend.software is True
            assert backend.adapter
        else:
            assert backend.adapter is None
        if backend.name == "webnn" and backend.probe_ok:
            assert backend.features == ("requested-device:cpu",)


def test_it_answers_pings_and_measures_memory(bench: Bench) -> None:
    assert bench.session.ping(20) > 0
    memory = bench.session.memory()
    assert memory.tree_pss_mb is not None
    assert 100 < memory.tree_pss_mb < 3500


# --- what it computes, and what not ---


def test_each_backend_computes_the_same_and_says_what_ran(bench: Bench) -> None:
    model = small_models.block()
    expected = reference(model, x=ROWS)
    for backend in bench.healthy():
        first = bench.run(model, backend, x=ROWS, dims={"n": 4})
        again = bench.run(model, backend, x=ROWS, dims={"n": 4})
        for report in (first, again):
            assert_close(report, expected)
            assert report.backend == backend
            assert report.nodes == {PROVIDERS[backend]: 3}
            assert report.page_ms is not None
            assert report.page_ms >= report.compute_ms >= 0
            assert report.transfer_ms is not None
        assert (first.warm, again.warm) == (False, True)
        assert first.load_ms is not None
        assert again.load_ms is None


def test_nodes_that_a_backend_leaves_to_the_cpu_are_told(bench: Bench) -> None:
    model = small_models.with_cpu_node()
    x = ROWS[:, :16].copy()
    for backend in set(bench.healthy()) - {"wasm"}:
        report = bench.run(model, backend, x=x)
        assert report.nodes == {PROVIDERS[backend]: 2, PROVIDERS["wasm"]: 1}
        assert_close(report, reference(model, x=x))
        with pytest.raises(UnsupportedOperation, match="strict"):
            bench.run(model, backend, x=x, strict=True)


def test_a_backend_that_cannot_is_refused_and_another_is_named(bench: Bench) -> None:
    model = small_models.identity("float64")
    x = np.arange(3, dtype=np.float64)
    for backend in set(bench.healthy()) - {"wasm"}:
        for _ in range(2):
            with pytest.raises(UnsupportedOperation, match="took none"):
                bench.run(model, backend, x=x, dims={"d0": 3})
    report = bench.run(model, None, x=x)
    assert report.backend == "wasm"
    assert_close(report, [x])


def test_float16_is_refused_where_the_adapter_lacks_it(bench: Bench) -> None:
    model = small_models.block(dtype="float16")
    x = ROWS.astype(np.float16)
    expected = reference(model, x=x)[0]
    facts = bench.session.facts
    assert facts is not None
    for backend in facts.healthy:
        if backend.name == "webgpu" and "shader-f16" not in backend.features:
            with pytest.raises(UnsupportedOperation, match="shader-f16"):
                bench.run(model, "webgpu", x=x)
        else:
            (got,) = bench.run(model, backend.name, x=x, dims={"n": 4}).outputs
            off = np.abs(values(got).astype(np.float32) - expected.astype(np.float32)).max()
            assert off <= 2e-2 * np.abs(expected).max()


def test_unknown_files_and_backends(bench: Bench) -> None:
    with pytest.raises(InternalError, match="no model file"):
        bench.session.run(model_sha256="00" * 32, inputs=[], backend="wasm", deadline_s=5)
    with pytest.raises(InvalidInput, match="got 'cuda'"):
        bench.run(small_models.relu(), "cuda", x=ROWS[0])
    for backend in {"webgpu", "webnn"} - OFFERS[bench.kind]:
        with pytest.raises(BrowserCapability, match=backend):
            bench.run(small_models.relu(), backend, x=ROWS[0])


@pytest.mark.parametrize("bench", EACH[:3], indirect=True)
def test_without_room_on_one_backend_the_next_computes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, facts = bench.session, bench.session.facts
    assert facts is not None
    assert "webgpu" in bench.healthy()
    model = small_models.block(seed=2)
    preferred = tuple(
        replace(each, probe_ms=0.0) if each.name == "webgpu" else each for each in facts.backends
    )
    monkeypatch.setattr(session._backends, "_facts", replace(facts, backends=preferred))
    megabytes = len(model) / 1e6
    room = session._residents
    monkeypatch.setattr(room, "limit_mb", room.baseline_mb + 5 * megabytes)
    report = bench.run(model, None, x=ROWS)
    assert report.backend == "wasm"
    assert "over the limit" in report.refused["webgpu"]
    assert_close(report, reference(model, x=ROWS))
    session.unload(bench.put(model))
    monkeypatch.setattr(room, "limit_mb", room.baseline_mb + megabytes)
    with pytest.raises(OutOfMemory, match=r"webgpu: .*; wasm: .*over the limit"):
        session.load(bench.put(model), deadline_s=60)


# --- what it keeps ---


def test_loading_and_unloading(bench: Bench) -> None:
    name = bench.put(small_models.block(seed=1))
    report = bench.session.load(name, deadline_s=60)
    assert report.load_ms is not None
    assert sum(report.nodes.values()) == 3
    assert bench.session.load(name, backend=report.backend, deadline_s=60).load_ms is None
    assert (name, report.backend) in {(m.sha256, m.backend) for m in bench.session.loaded()}
    bench.session.unload(name)
    assert name not in {m.sha256 for m in bench.session.loaded()}
    assert bench.run(small_models.block(seed=1), report.backend, x=ROWS).load_ms is not None


def test_models_come_back_after_every_repair(bench: Bench) -> None:
    model = small_models.block()
    expected = reference(model, x=ROWS)
    repairs = {
        "engine": bench.session.restart_engine,
        "page": lambda: bench.session.refresh(60),
        "socket": lambda: bench.session.reconnect(60),
    }
    for name, repair in repairs.items():
        bench.run(model, x=ROWS)
        repair()
        report = bench.run(model, x=ROWS)
        assert_close(report, expected)
        assert (report.load_ms is None) == (name == "socket"), name
    assert bench.told() == []
    assert bench.session.probe().healthy[0].name == bench.healthy()[0]


@pytest.mark.parametrize("bench", tried_in("chromium"), indirect=True)
def test_a_page_that_is_replaced_while_it_is_asked_is_no_failure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is slow to greet is shown anew: it may greet then, and go."""
    page, facts, replaced = bench.session._page, bench.session._page.facts, threading.Event()

    def asked(deadline: Deadline) -> Any:
        if not replaced.is_set():
            bench.session._window.show_anew(page.url)
            page.wait(deadline)
            replaced.set()
            raise ConnectionLost("another page has connected")
        return facts(deadline)

    monkeypatch.setattr(page, "facts", asked)
    bench.session.refresh(60)
    assert_close(bench.run(small_models.relu(), x=ROWS[0]), [np.maximum(ROWS[0], 0)])
    assert replaced.is_set()


def test_what_a_callers_inputs_stop_costs_no_loaded_model(bench: Bench) -> None:
    """WebAssembly stops where a quotient does not fit its type; what was in use is loaded while idle."""
    used, division = small_models.block(seed=3), small_models.division()
    bench.run(used, x=ROWS)
    with pytest.raises(InternalError):
        bench.run(division, a=np.array([-(2**31)], np.int32), b=np.array([-1], np.int32))
    while bench.session.idle.due:
        bench.session.idle.do_next(60)
    assert set(bench.told()) == {"engine_dead"}
    report = bench.run(used, x=ROWS)
    assert report.load_ms is None
    assert_close(report, reference(used, x=ROWS))


def test_a_passed_deadline_does_not_hold_up_the_next_run(bench: Bench) -> None:
    x = np.eye(256, dtype=np.float32)
    bench.run(small_models.slow(), times=np.int64(1), x=x)
    began = time.monotonic()
    with pytest.raises(DeadlinePassed) as caught:
        bench.run(small_models.slow(), times=np.int64(10**8), x=x, deadline_s=0.5)
    assert caught.value.category is Category.TIMEOUT
    print(f"DEADLINE of 0.5 s: given up after {time.monotonic() - began:.2f} s")
    assert time.monotonic() - began < 20  # computed to the end it would take hours
    assert_close(bench.run(small_models.relu(), x=ROWS[0]), [np.maximum(ROWS[0], 0)])


# --- what it loses ---


# Only Chromium shows a GPU process of its own.
@pytest.mark.parametrize("bench", EACH[:2], indirect=True)
def test_a_killed_gpu_process_is_a_lost_device(bench: Bench) -> None:
    browser = bench.session.browser
    assert browser is not None
    gpu = browser.with_role(Role.GPU)
    assert gpu
    model = small_models.block()
    bench.run(model, "webgpu", x=ROWS)
    for process in gpu:
        process.kill()
    with pytest.raises(DeviceLost):
        bench.run(model, "webgpu", x=ROWS)
    assert_close(bench.run(model, "wasm", x=ROWS), reference(model, x=ROWS))
    bench.session.restart_engine()
    assert_close(bench.run(model, "webgpu", x=ROWS), reference(model, x=ROWS))
    # When the loss meets onnxruntime in the middle of its work, it aborts and its engine is replaced, too.
    assert set(bench.told()) - {"engine_dead"} == {"device_lost"}


def kill_while_computing(bench: Bench, role: Role) -> BrowserCrash:
    """Kill the busiest process of a role 0.3 s into a long run; the error that the run ends with."""
    x = np.eye(256, dtype=np.float32)
    bench.run(small_models.slow(), times=np.int64(50), x=x)
    browser = bench.session.browser
    assert browser is not None
    busiest = max(browser.with_role(role), key=_cpu_s)
    killer = threading.Timer(0.3, busiest.kill)
    killer.start()
    began = time.monotonic()
    with pytest.raises(BrowserCrash) as caught:
        bench.run(small_models.slow(), times=np.int64(10**8), x=x, deadline_s=60)
    print(f"CRASH noticed after {time.monotonic() - began - 0.3:.2f} s")
    assert time.monotonic() - began < 30, "it was noticed, not waited for"
    assert bench.told() == ["closed"]
    return caught.value


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@pytest.mark.parametrize("role", [Role.DRIVER, Role.BROWSER])
def test_a_driver_or_browser_that_stands_still_is_seen_and_answers_nobody(
    bench: Bench, role: Role
) -> None:
    browser = bench.session.browser
    assert browser is not None
    bench.session.ask_browser()
    assert bench.session.stopped() == []
    process = browser.with_role(role)[0]
    process.suspend()
    try:
        until = time.monotonic() + 10  # a signal takes effect a moment later
        while f"{role} process {process.pid}" not in bench.session.stopped():
            assert time.monotonic() < until
            time.sleep(0.01)
        browser.set_command_timeout(0.5)
        with pytest.raises(DeadlinePassed):
            bench.session.ask_browser()
    finally:
        process.resume()
        browser.set_command_timeout()
    bench.session.ask_browser()


def test_a_killed_page_comes_back(bench: Bench) -> None:
    error = kill_while_computing(bench, Role.CONTENT)
    assert error.first_rung == "refresh"
    if bench.kind == "webkitgtk":  # its driver ends the session with the page
        with pytest.raises(BrowserCrash):
            bench.session.refresh(60)
        bench.session.restart(120)
    else:
        bench.session.refresh(60)
    assert_close(bench.run(small_models.relu(), x=ROWS[0]), [np.maximum(ROWS[0], 0)])


@pytest.mark.parametrize("bench", ["firefox"], indirect=True)
def test_a_page_that_dies_before_it_greets_is_shown_again(bench: Bench) -> None:
    """Firefox alone shows a new page in its tab then; the others' sessions end, and are restarted."""
    killed = threading.Event()

    def kill() -> None:
        former = bench.session.browser
        while not killed.wait(0.002):
            browser = bench.session.browser
            if browser is not None and browser is not former:
                for page in browser.with_role(Role.CONTENT):
                    page.kill()
                    killed.set()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        bench.session.restart(120)
    finally:
        killed.set()
        killer.join()
    assert_close(bench.run(small_models.relu(), x=ROWS[0]), [np.maximum(ROWS[0], 0)])
    bench.told()


def test_a_killed_browser_is_replaced(bench: Bench) -> None:
    error = kill_while_computing(bench, Role.BROWSER)
    assert error.first_rung == "restart"
    bench.session.restart(120)
    for backend in OFFERS[bench.kind]:
        report = bench.run(small_models.relu(), backend, x=ROWS[0], dims={"n": 64})
        assert_close(report, [np.maximum(ROWS[0], 0)])
    assert set(bench.healthy()) == OFFERS[bench.kind]
