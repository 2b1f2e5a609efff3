"""Predicted times: measured where measured, scaled or stated defaults elsewhere; memory limits hold."""

from __future__ import annotations

import dataclasses

import pytest

from inference.core.costs import (
    DEFAULT_MS_PER_WEIGHT_MB,
    Prediction,
    Rates,
    Step,
    Way,
    best,
    predict,
)
from inference.core.placement import BackendView, BrowserView, NoBrowser, Wishes

MB = 2**20
RATES = Rates(hop_ms=5.0, samples=9)
WHOLE = Step(0, "whole", 100 * MB, 1.0)
NONE = Way("none", 1, (WHOLE,))
LAYERS = Way(
    "layer", 2, (Step(0, "a", 50 * MB, 0.25), Step(1, "b", 50 * MB, 0.75, depends_on=(0,)))
)


def data(parts: int, rows: int) -> Way:
    steps = [Step(part, "whole", 100 * MB, 1 / parts) for part in range(parts)]
    join = Step(parts, "", 0, 0.0, depends_on=tuple(range(parts)), join=True)
    return Way("data", parts, (*steps, join), rows)


def browser(
    name: str, probe_ms: float = 1.0, limit_mb: float = 4000.0, **loaded: float
) -> BrowserView:
    return BrowserView(
        id=name, kind=name, family=name, state="ready",
        backends=(BackendView("wasm", None, probe_ms),), loaded=loaded, resident_bytes=0,
        memory_limit_mb=limit_mb, outstanding=0,
        row_ms={sha: ms / 8 for sha, ms in loaded.items()},
    )  # fmt: skip


def predicted(way: Way, *pool: BrowserView) -> Prediction:
    return predict(way, WHOLE, pool, Wishes(), RATES)


def test_a_measured_model_takes_what_it_took_and_a_hop() -> None:
    prediction = predicted(NONE, browser("x", whole=40.0))
    assert prediction.total_ms == pytest.approx(45.0)
    assert prediction.steps[0].basis == "measured"


def test_layers_that_nobody_ran_take_their_share_of_the_whole() -> None:
    prediction = predicted(LAYERS, browser("x", whole=40.0), browser("y", whole=80.0))
    assert [step.basis for step in prediction.steps] == ["scaled", "scaled"]
    assert prediction.total_ms == pytest.approx(2 * 5 + 0.25 * 40 + 0.75 * 80)


def test_a_browser_without_measurements_is_scaled_by_the_probe_of_another() -> None:
    prediction = predicted(LAYERS, browser("x", whole=40.0), browser("y", probe_ms=3.0))
    assert prediction.steps[1].compute_ms == pytest.approx(0.75 * 40 * 3)


def test_without_any_measurement_a_stated_default_is_named_as_such() -> None:
    prediction = predicted(NONE, browser("x"))
    assert prediction.steps[0].compute_ms == pytest.approx(100 * DEFAULT_MS_PER_WEIGHT_MB)
    assert prediction.steps[0].basis == "default"


def test_parts_of_a_batch_run_at_the_same_time_and_are_joined() -> None:
    pool = (browser("x", whole=80.0), browser("y", whole=80.0))
    prediction = predicted(data(2, 8), *pool)
    assert prediction.total_ms == pytest.approx(5 + 40 + 5)
    assert best([predicted(NONE, *pool), prediction]).way.strategy == "data"


def test_browsers_of_one_machine_share_its_cores() -> None:
    def on(host: str, cores: int, threads: int = 1) -> list[BrowserView]:
        three = [browser(name, whole=80.0) for name in "xyz"]
        return [dataclasses.replace(b, host=host, cores=cores, threads=threads) for b in three]

    third, hops = 80.0 / 3, 2 * 5.0
    assert predicted(data(3, 12), *on("", 2)).total_ms == pytest.approx(third + hops)
    assert predicted(data(3, 12), *on("here", 4)).total_ms == pytest.approx(third + hops)
    assert predicted(data(3, 12), *on("here", 2)).total_ms == pytest.approx(third * 1.5 + hops)
    assert predicted(data(3, 12), *on("here", 4, 4)).total_ms == pytest.approx(third * 3 + hops)
    assert predicted(LAYERS, *on("here", 1)).total_ms == pytest.approx(80.0 + 10.0), "one by one"


def test_a_small_model_is_not_worth_a_second_hop() -> None:
    pool = (browser("x", whole=4.0), browser("y", whole=4.0))
    assert best([predicted(data(2, 8), *pool), predicted(NONE, *pool)]).way.strategy == "none"


def test_two_steps_in_one_browser_wait_for_one_another() -> None:
    assert predicted(data(2, 8), browser("x", whole=80.0)).total_ms == pytest.approx(45 + 45 + 5)


def test_a_model_that_fits_nowhere_is_said_to_be_too_large() -> None:
    with pytest.raises(NoBrowser, match="MB short"):
        predicted(NONE, browser("x", limit_mb=200.0))
    assert predicted(LAYERS, browser("x", limit_mb=200.0)).total_ms > 0
