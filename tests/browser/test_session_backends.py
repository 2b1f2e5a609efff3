"""When a backend of a session is believed: after a repair, without a time, and late on a busy machine."""

from __future__ import annotations

import numpy as np
import pytest

from browsers.core.errors import BrowserCapability
from browsers.session.deadline import Deadline
from tests.browser.bench import (
    OFFERS,
    Bench,
    assert_close,
    bench_with,
    reference,
    tried_in,
)
from tests.support import small_models

ROWS = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)


bench = bench_with(tried_in("firefox"))


def test_after_a_repair_a_backend_computes_only_once_it_answered(bench: Bench) -> None:
    model = small_models.block()
    bench.session.restart_engine()
    assert bench.healthy() == []
    facts = bench.session.probe()
    at_once = {each.name for each in facts.backends if each.offered and not each.software}
    assert {each.name for each in facts.healthy} == at_once
    assert {each.name for each in facts.backends if each.offered} == OFFERS[bench.kind]
    for name in OFFERS[bench.kind]:
        assert_close(bench.run(model, name, x=ROWS, dims={"n": 4}), reference(model, x=ROWS))
        assert name in bench.healthy()


def test_a_backend_without_a_time_is_timed_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as wrong:
        wrong.setattr("browsers.probe.TOLERANCE", -1.0)
        with pytest.raises(BrowserCapability, match="wrong answer"):
            bench.session.probe()
    facts = bench.session.facts
    assert facts is not None
    assert [each.probe_ms for each in facts.backends if each.probe_ok is False] != []
    facts = bench.session.probe()
    assert set(bench.healthy()) == OFFERS[bench.kind]
    assert all(each.probe_ms is not None for each in facts.healthy)


def bring_back(bench: Bench) -> None:
    """Load the models that went with the engine: this test's, and others that were loaded before."""
    while bench.session._residents.lost:
        bench.session.idle.do_next(60)


def test_a_backend_that_is_late_is_asked_again_while_idle(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine is no wrong answer; asking again costs no loaded model, and has an end."""
    monkeypatch.setattr("browsers.session.late._WAITS_S", (0.0, 0.0))
    model, backends = small_models.block(seed=7), bench.session._backends
    bench.session.restart_engine()
    backends._check("wasm", Deadline(0.001))
    late = backends.named("wasm")
    assert (late.probe_ok, late.offered, late.probe_ms) == (None, False, None)
    assert "asked again when idle" in (late.error or "")
    bench.run(model, x=ROWS)  # one that is named is asked at once
    assert backends.named("wasm").probe_ok is True

    backends._check("wasm", Deadline(0.001))
    bring_back(bench)
    assert bench.session.idle.due
    bench.session.idle.do_next(0.001)
    assert "asked again when idle" in (backends.named("wasm").error or "")
    while bench.session.idle.due:
        bench.session.idle.do_next(60)
    assert backends.named("wasm").offered
    assert backends.named("wasm").error is None
    report = bench.run(model, x=ROWS)
    assert report.load_ms is None
    assert_close(report, reference(model, x=ROWS))

    for _ in range(4):  # as repairs do it: that uses up no turn
        backends._check("wasm", Deadline(0.0001))
    assert backends.named("wasm").probe_ok is None
    bring_back(bench)
    for _ in range(2):
        assert backends.named("wasm").probe_ok is None
        bench.session.idle.do_next(0.0001)
    assert backends.named("wasm").probe_ok is False
    assert "until the browser starts anew" in (backends.named("wasm").error or "")
    assert not backends.late_is_due
    bench.session.probe()
    assert backends.named("wasm").probe_ok is True
    assert bench.told() == []
