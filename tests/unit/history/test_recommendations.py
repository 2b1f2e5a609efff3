from __future__ import annotations

import cProfile

import numpy as np
import pytest

from history.core.recommendations import (
    DEFAULT_CONFIDENCE,
    POOLED_CONFIDENCE,
    SCORES_CONFIDENCE,
    UNCOMPARED_CONFIDENCE,
    Basis,
    Recommendation,
    Standing,
    recommend,
)
from history.core.scores import capability_scores
from history.core.series import Arm, Series, Work
from tests.unit.history.truth import latencies, series

_BROWSERS = ("chromium", "firefox", "webkitgtk")


def _noisy(median_ms: float, size: int = 40, seed: int = 0) -> np.ndarray:
    return latencies(np.random.default_rng(seed), median_ms, size, spread=0.1)


def _recommend(measured: list[Series], name: str = "minilm", **options) -> Recommendation | None:
    available = options.pop("available", _BROWSERS)
    found = recommend("text", measured, options.pop("scores", ()), available, **options)
    return found.get(name) or found.get("")


def test_the_fastest_is_named_with_its_evidence() -> None:
    found = _recommend([
        series(_noisy(10), "chromium"), series(_noisy(20, seed=1), "firefox"),
        series(_noisy(15, seed=2), "webkitgtk"),
    ])  # fmt: skip
    assert found is not None
    assert (found.browser, found.platform, found.based_on) == ("chromium", "wasm", Basis.MODEL)
    assert found.confidence > 0.99
    assert found.sample_size == 40
    standings = {one.browser: one.standing for one in found.evidence}
    assert standings == {
        "chromium": Standing.RECOMMENDED, "webkitgtk": Standing.WORSE, "firefox": Standing.WORSE,
    }  # fmt: skip
    firefox = found.evidence[-1]
    assert firefox.ratio == pytest.approx(2.0, rel=0.2)
    assert firefox.p_value is not None
    assert firefox.p_value < 0.001


def test_a_browser_that_is_killed_again_and_again_is_not_recommended_however_fast() -> None:
    measured = [series(_noisy(10), "chromium"), series(_noisy(20, seed=1), "firefox")]
    killed = Series(measured[0].work, Arm("chromium"), np.empty(0), 0, failures=8)
    found = _recommend([*measured, killed])
    assert found is not None
    assert found.browser == "firefox"
    refused = {one.browser: one for one in found.evidence}["chromium"]
    assert refused.standing == Standing.REFUSED
    assert "8 of 48 computations failed" in refused.why


def test_failures_cost_tries_before_they_exclude() -> None:
    almost = [series(_noisy(10, 400), "chromium", failures=16), series(_noisy(10, 400), "firefox")]
    found = _recommend(almost)
    assert found is not None
    assert found.browser == "firefox"


def test_practical_equals_are_said_to_be() -> None:
    measured = [series(_noisy(10, 2000), "chromium"), series(_noisy(10.1, 2000, 1), "firefox")]
    found = _recommend(measured)
    assert found is not None
    assert len(found.equivalent) == 1
    assert found.confidence > 0.95


def test_an_empty_history_knows_nothing() -> None:
    assert _recommend([]) is None
    preferred = _recommend([], available=["edge", "chromium"])
    assert preferred is not None
    assert (preferred.browser, preferred.based_on) == ("edge", Basis.DEFAULT)
    assert preferred.confidence <= DEFAULT_CONFIDENCE
    assert preferred.sample_size == 0
    powered = _recommend([], available=["edge", "safari"], on_battery=True)
    assert powered is not None
    assert powered.browser == "safari"


def test_a_default_never_comes_before_evidence() -> None:
    few = [series([10.0] * 3, "firefox")]
    assert _recommend(few, available=["edge", "firefox"]) is None


def test_a_model_without_samples_takes_its_types() -> None:
    other = Work("text", "bert", "cd" * 32)
    measured = [
        series(_noisy(10), "firefox", work=other), series(_noisy(30), "chromium", work=other),
    ]  # fmt: skip
    found = _recommend(measured)
    assert found is not None
    assert (found.browser, found.based_on) == ("firefox", Basis.MODEL_TYPE)


def test_a_type_without_samples_takes_scores_and_is_less_sure() -> None:
    vision = Work("vision", "vit", "ef" * 32)
    scores = capability_scores([
        series(_noisy(10), "firefox", work=vision), series(_noisy(30), "chromium", work=vision),
    ])  # fmt: skip
    found = _recommend([], scores=scores)
    assert found is not None
    assert (found.browser, found.based_on) == ("firefox", Basis.SCORES)
    assert found.confidence <= SCORES_CONFIDENCE


def test_other_work_and_other_load_prove_nothing() -> None:
    """Firefox was given the easy work: only on the work that both did does it compare."""
    easy, crowded = Work("text", "minilm", "00" * 32), Work("text", "minilm", "ab" * 32, load=4)
    found = _recommend([
        series(_noisy(1, 300), "firefox", work=easy),
        series(_noisy(10), "chromium"), series(_noisy(20), "firefox"),
        series(_noisy(90), "chromium", work=crowded),
    ])  # fmt: skip
    assert found is not None
    assert found.browser == "chromium"


def test_the_order_of_series_and_the_unit_change_nothing() -> None:
    measured = [series(_noisy(10 + i, seed=i), b) for i, b in enumerate(_BROWSERS)]
    scaled = [series(one.latencies_ms * 1000, one.arm.browser) for one in reversed(measured)]
    plain, other = _recommend(measured), _recommend(scaled)
    assert plain is not None
    assert other is not None
    assert plain.browser == other.browser
    assert plain.confidence == pytest.approx(other.confidence)


def test_the_same_samples_give_the_same_answer() -> None:
    measured = [series(_noisy(10 + i, seed=i), b) for i, b in enumerate(_BROWSERS)]
    assert _recommend(measured, seed=3) == _recommend(measured, seed=3)


def _others(count: int, browser: str, **facts) -> list[Series]:
    """As many other models of the type, each with one series in that browser."""
    return [
        series([], browser, work=Work("text", f"other-{n}", f"{n:064x}"), **facts)
        for n in range(count)
    ]  # fmt: skip


def _of_type(browser: str) -> list[Series]:
    """Another model that ran there."""
    return [series(_noisy(10), browser, work=Work("text", "bert", "cd" * 32))]


def test_what_other_models_cannot_do_there_says_nothing_of_this_model() -> None:
    """56 right samples on Chromium; 40 models of the type that Chromium cannot run, and one on Firefox."""
    own = series(_noisy(10, 56), "chromium")
    measured = [own, *_others(40, "chromium", model_failures=3), *_of_type("firefox")]
    found = _recommend(measured)
    assert found is not None
    assert (found.browser, found.based_on, found.sample_size) == ("chromium", Basis.MODEL, 56)
    assert all(one.failures == 0 for one in found.evidence)
    assert found.confidence <= UNCOMPARED_CONFIDENCE, "it was compared with nobody"
    pooled = _recommend(measured, name="unknown")
    assert pooled is not None
    refused = [one.browser for one in pooled.evidence if one.standing == Standing.REFUSED]
    assert refused == []
    assert pooled.confidence <= POOLED_CONFIDENCE
    scores = {one.browser: one.metrics["failures"] for one in capability_scores(measured)}
    assert scores == {"chromium": 0, "firefox": 0}


def test_what_a_model_cannot_do_there_counts_for_this_model() -> None:
    own = [series(_noisy(10), "chromium", model_failures=30), series(_noisy(20, seed=1), "firefox")]
    found = _recommend(own)
    assert found is not None
    assert found.browser == "firefox"
    assert [one.browser for one in found.evidence if one.standing == Standing.REFUSED] == [
        "chromium"
    ]


@pytest.mark.parametrize("browser", ["chromium", "edge"])
@pytest.mark.parametrize("right", [1, 4])
def test_a_few_own_samples_never_come_before_enough_of_its_type(right: int, browser: str) -> None:
    """Firefox is the fastest of the type; the model itself was seen where its type is slow or unknown."""
    other = Work("text", "bert", "cd" * 32)
    known = [
        series(_noisy(10), "firefox", work=other), series(_noisy(30), "chromium", work=other),
        series(_noisy(60), "webkitgtk", work=other),
    ]  # fmt: skip
    found = _recommend([*known, series([10.0] * right, browser)])
    assert found is not None
    assert (found.browser, found.based_on) == ("firefox", Basis.MODEL_TYPE)
    assert found.confidence == POOLED_CONFIDENCE
    standings = {one.browser: one.standing for one in found.evidence}
    assert standings["firefox"] == Standing.RECOMMENDED
    assert standings[browser] == (
        Standing.WORSE if browser == "chromium" else Standing.LITTLE_DATA
    )  # fmt: skip


def test_a_few_own_samples_never_come_before_scores() -> None:
    vision = Work("vision", "vit", "ef" * 32)
    scores = capability_scores([
        series(_noisy(10), "firefox", work=vision), series(_noisy(30), "chromium", work=vision),
    ])  # fmt: skip
    found = _recommend([series([10.0] * 4, "chromium")], scores=scores)
    assert found is not None
    assert (found.browser, found.based_on) == ("firefox", Basis.SCORES)
    assert [(one.browser, one.standing, one.samples) for one in found.evidence] == [
        ("chromium", Standing.LITTLE_DATA, 4)
    ]


def test_a_model_that_fails_in_its_types_best_browser_takes_the_next() -> None:
    """Which is the best of those that are left, and said to be: not one worse than what cannot be used."""
    other = Work("text", "bert", "cd" * 32)
    found = _recommend([
        series(_noisy(10), "firefox", work=other), series(_noisy(30), "chromium", work=other),
        series(_noisy(60), "webkitgtk", work=other),
        series([], "firefox", model_failures=8),
    ])  # fmt: skip
    assert found is not None
    assert (found.browser, found.based_on) == ("chromium", Basis.MODEL_TYPE)
    assert found.confidence == POOLED_CONFIDENCE
    assert {one.browser: one.standing for one in found.evidence} == {
        "chromium": Standing.RECOMMENDED, "webkitgtk": Standing.WORSE, "firefox": Standing.REFUSED,
    }  # fmt: skip


def test_a_model_that_fails_wherever_its_type_is_known_is_recommended_nothing() -> None:
    other = Work("text", "bert", "cd" * 32)
    found = _recommend([
        series(_noisy(10), "firefox", work=other),
        series([], "firefox", model_failures=8), series([10.0] * 3, "chromium"),
    ])  # fmt: skip
    assert found is not None
    assert (found.browser, found.confidence, found.sample_size) == ("", 0.0, 0)
    assert {one.browser: one.standing for one in found.evidence} == {
        "firefox": Standing.REFUSED, "chromium": Standing.LITTLE_DATA,
    }  # fmt: skip


def test_a_few_failures_refuse_nobody() -> None:
    known = [series(_noisy(10), "firefox"), series(_noisy(20, seed=1), "chromium")]
    for failures, standing in ((4, Standing.LITTLE_DATA), (5, Standing.REFUSED)):
        found = _recommend([*known, series([], "webkitgtk", failures=failures)])
        assert found is not None
        (last,) = [one for one in found.evidence if one.browser == "webkitgtk"]
        assert last.standing == standing


def test_a_type_of_many_models_costs_as_many_times_more() -> None:
    """Calls made, not time: four times as many models must not take sixteen times the work."""
    few, many = (_calls(count) for count in (100, 400))
    assert many / few < 5


def _calls(models: int) -> int:
    """How many calls a recommendation for each takes; a quarter of the models knows too little."""
    measured = [
        series(_noisy(10 + at, 5 if n % 4 else 3, seed=n), browser,
               work=Work("text", f"m{n}", f"{n:064x}"))
        for n in range(models)
        for at, browser in enumerate(("chromium", "firefox"))
    ]  # fmt: skip
    counting = cProfile.Profile(builtins=True)
    counting.enable()
    try:
        found = recommend("text", measured, capability_scores(measured), _BROWSERS)
    finally:
        counting.disable()
    assert len(found) == models * 3 // 4 + 1
    return sum(entry.callcount for entry in counting.getstats())
