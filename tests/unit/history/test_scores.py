from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from history.core.reliability import reliability
from history.core.scores import ALONE, Score, capability_scores
from history.core.series import Series
from tests.unit.history.truth import series

_LATENCIES = st.lists(st.floats(0.01, 1e6), min_size=5, max_size=30)
_POOLS = st.dictionaries(
    st.sampled_from(["chromium", "firefox", "webkitgtk"]),
    st.tuples(_LATENCIES, st.integers(0, 40)),
    min_size=1,
)


def _pool(measured: dict[str, tuple[list[float], int]], unit: float = 1.0) -> list[Series]:
    return [
        series(np.array(values) * unit, browser, failures=failures)
        for browser, (values, failures) in measured.items()
    ]


def _by_browser(scores: list[Score]) -> dict[str, Score]:
    return {score.browser: score for score in scores}


@settings(max_examples=60, deadline=None)
@given(_POOLS)
def test_scores_are_bounded_and_say_what_they_rest_on(measured) -> None:
    scores = _by_browser(capability_scores(_pool(measured)))
    assert scores.keys() == measured.keys()
    for browser, score in scores.items():
        assert 0 <= score.low <= score.score <= score.high <= 100
        assert 0 <= score.confidence <= (1 if len(measured) > 1 else ALONE)
        assert score.sample_size == len(measured[browser][0])
        assert score.metrics["throughput"] is None
        assert score.metrics["memory"] is None


@settings(max_examples=40, deadline=None)
@given(_POOLS, st.floats(0.001, 1000))
def test_a_unit_or_an_order_changes_no_score(measured, unit) -> None:
    plain = _by_browser(capability_scores(_pool(measured)))
    scaled = _by_browser(capability_scores(list(reversed(_pool(measured, unit)))))
    for browser, score in plain.items():
        assert scaled[browser].score == pytest.approx(score.score, rel=1e-6)
        assert scaled[browser].low == pytest.approx(score.low, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(_POOLS, st.floats(0.1, 1.0), st.integers(0, 10))
def test_faster_is_never_worse_and_failing_never_better(measured, factor, failures) -> None:
    before = _by_browser(capability_scores(_pool(measured)))
    for browser, (values, failed) in measured.items():
        faster = {**measured, browser: ([v * factor for v in values], failed)}
        after = _by_browser(capability_scores(_pool(faster)))
        assert after[browser].score >= before[browser].score - 1e-9
        failing = {**measured, browser: (values, failed + failures)}
        after = _by_browser(capability_scores(_pool(failing)))
        assert after[browser].score <= before[browser].score + 1e-9


def test_software_and_hardware_and_other_backends_are_never_held_against_each_other() -> None:
    slow = series([50.0] * 20, "firefox", "webgpu", software=True)
    fast = series([1.0] * 20, "chromium", "webgpu", software=False)
    wasm = series([5.0] * 20, "webkitgtk", "wasm")
    for score in capability_scores([slow, fast, wasm]):
        assert score.metrics["latency"] == 1.0
        assert score.metrics["compared_with"] == 0
        assert score.confidence <= ALONE


def test_the_weights_are_those_of_the_documents() -> None:
    best = series([10.0] * 50, "chromium", memory_mb=[500.0] * 50)
    other = series([20.0] * 50, "firefox", memory_mb=[500.0] * 50)
    scores = _by_browser(capability_scores([best, other]))
    low = reliability(50, 0).low
    assert scores["chromium"].score == pytest.approx(100 * low)
    # latency ½ with weight 1.0, memory 1 with weight 0.5: ½^(1 / 1.5)
    assert scores["firefox"].score == pytest.approx(100 * low * 0.5 ** (1 / 1.5))


def test_four_samples_are_no_score() -> None:
    assert capability_scores([series([1.0] * 4)]) == []
    assert capability_scores([]) == []


@pytest.mark.parametrize("bad", [-1.0, 0.0, float("nan"), float("inf")])
def test_garbage_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite numbers above zero"):
        series([1.0, bad])
