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
RATES = Rates(hop_ms=5.0, hop_samples=9, join_ms=7.0, join_samples=3)
WHOLE = Step(0, "whole", 100 * MB, 1.0)
NONE = Way("none", 1, (WHOLE,))
LAYERS = Way(
    "layer", 2, (Step(0, "a", 50 * MB, 0.25), Step(1, "b", 50 * MB, 0.75, depends_on=(0,)))
)


def data(parts: int, rows: int) -> Way:
    steps = [Step(part, "whole", 100 * MB, 1 / parts, batch_part=part) for part in range(parts)]
    join = Step(parts, "", 0, 0.0, depends_on=tuple(range(parts)), join=True)
    return Way("data", parts, (*steps, join), rows)


def mixed(parts: int, rows: int) -> Way:
    """A batch over copies of two layers."""
    steps = []
    for part in range(parts):
        at = 2 * part
        steps.append(Step(at, "a", 50 * MB, 0.25 / parts, batch_part=part))
        steps.append(Step(at + 1, "b", 50 * MB, 0.75 / parts, (at,), batch_part=part))
    join = Step(2 * parts, "", 0, 0.0, tuple(range(1, 2 * parts, 2)), join=True)
    return Way("layer", 2, (*steps, join), rows, parts)


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
    assert prediction.total_ms == pytest.approx(5 + 40 + 7)
    assert best([predicted(NONE, *pool), prediction]).way.strategy == "data"


def test_a_batch_over_copies_of_a_cut_model_weighs_its_hops_and_its_join() -> None:
    pool = [browser(name, whole=80.0) for name in "wxyz"]
    unmeasured = predicted(mixed(2, 8), *pool)
    assert [step.basis for step in unmeasured.steps] == ["scaled"] * 4
    assert unmeasured.total_ms == pytest.approx(5 + 10 + 5 + 30 + 7)
    cut = [browser(name, a=16.0, b=64.0) for name in "wxyz"]  # a batch of 8, as all here
    by_rows = predicted(mixed(2, 8), *cut)
    assert [step.basis for step in by_rows.steps] == ["measured"] * 4
    assert by_rows.total_ms == pytest.approx(5 + 8 + 5 + 32 + 7)
    alone = predicted(dataclasses.replace(LAYERS, rows=8), *cut)
    assert alone.total_ms == pytest.approx(5 + 16 + 5 + 64)
    assert best([alone, by_rows]).way.data_parallel == 2
    quick = [browser(name, a=4.0, b=16.0) for name in "wxyz"]
    few = [predicted(dataclasses.replace(way, rows=2), *quick) for way in (LAYERS, mixed(2, 2))]
    assert best(few).way.data_parallel == 1, "two rows are not worth a join"


def test_browsers_of_one_machine_share_its_cores() -> None:
    def on(host: str, cores: int, threads: int = 1) -> list[BrowserView]:
        three = [browser(name, whole=80.0) for name in "xyz"]
        return [dataclasses.replace(b, host=host, cores=cores, threads=threads) for b in three]

    third, hops = 4 * 80.0 / 8, 5.0 + 7.0  # four rows each
    assert predicted(data(3, 12), *on("", 2)).total_ms == pytest.approx(third + hops)
    assert predicted(data(3, 12), *on("here", 4)).total_ms == pytest.approx(third + hops)
    assert predicted(data(3, 12), *on("here", 2)).total_ms == pytest.approx(third * 1.5 + hops)
    assert predicted(data(3, 12), *on("here", 4, 4)).total_ms == pytest.approx(third * 3 + hops)
    assert predicted(LAYERS, *on("here", 1)).total_ms == pytest.approx(80.0 + 10.0), "one by one"


def test_a_small_model_is_not_worth_a_second_hop() -> None:
    pool = (browser("x", whole=4.0), browser("y", whole=4.0))
    assert best([predicted(data(2, 8), *pool), predicted(NONE, *pool)]).way.strategy == "none"


def test_two_steps_in_one_browser_wait_for_one_another() -> None:
    assert predicted(data(2, 8), browser("x", whole=80.0)).total_ms == pytest.approx(45 + 45 + 7)


def test_a_model_that_fits_nowhere_is_said_to_be_too_large() -> None:
    with pytest.raises(NoBrowser, match="MB short"):
        predicted(NONE, browser("x", limit_mb=200.0))
    assert predicted(LAYERS, browser("x", limit_mb=200.0)).total_ms > 0
