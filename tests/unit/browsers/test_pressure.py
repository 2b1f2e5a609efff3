"""When memory is given back, how long it is left alone, and what counts as a leak."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from browsers.core.leaks import LeakMeter
from browsers.core.pressure import WORTH_MB, Look, Reading, again_after_s


def reading(tree_mb: float | None, machine_used: float = 0.5, fresh_mb: float = 500.0) -> Reading:
    return Reading(tree_mb, fresh_mb, 1000.0, machine_used, 0.9)


def test_what_is_above_its_limit_is_said_with_both_numbers() -> None:
    assert reading(999.0).shortage == ""
    assert reading(None).shortage == ""
    assert reading(1500.0).shortage == "the browser takes 1500 MB, its limit is 1000 MB"
    assert reading(600.0, 0.95).shortage == (
        "95% of the machine's memory is taken, the limit is 90%"
    )
    assert reading(600.0, 0.95).machine_short


def test_a_browser_that_has_not_grown_has_nothing_to_give_back() -> None:
    assert not reading(500.0 + WORTH_MB, 0.95).reclaimable
    assert reading(501.0 + WORTH_MB, 0.95).reclaimable
    assert not reading(None, 0.95).reclaimable


def test_a_browser_is_measured_anew_when_it_computed_grew_shrank_or_some_time_has_passed() -> None:
    last = Look(at=100.0, rss_mb=900.0, runs={"m": 3})
    assert last.stands(Look(105.0, 910.0, {"m": 3}))
    assert not last.stands(Look(105.0, 910.0, {"m": 4}))
    assert not last.stands(Look(105.0, 910.0, {}))
    assert not last.stands(Look(105.0, 920.0, {"m": 3}))
    assert not last.stands(Look(105.0, 880.0, {"m": 3}))
    assert not last.stands(Look(130.0, 900.0, {"m": 3}))
    assert not last.stands(Look(105.0, None, {"m": 3})), "it cannot be told"


@given(st.integers(0, 50))
def test_what_is_in_vain_is_tried_ever_later_but_always_again(in_vain: int) -> None:
    assert 30.0 <= again_after_s(in_vain) <= again_after_s(in_vain + 1) <= 600.0


def meter(growth_mb: float, looks: int, runs_each: int = 20, noise: float = 3.0) -> LeakMeter[str]:
    found = LeakMeter[str]()
    for at in range(looks):
        wobble = noise if at % 2 else -noise
        found.observe(800.0 + growth_mb * at * runs_each + wobble, {"m": 20 + at * runs_each})
    return found


def test_growth_per_run_is_seen_through_noise() -> None:
    leak = meter(0.5, looks=20).leak("m")
    assert leak is not None
    assert leak.mb_per_run == pytest.approx(0.5, abs=0.05)
    assert leak.runs == 19 * 20
    still = meter(0.0, looks=20).leak("m")
    assert still is not None
    assert still.mb_per_run == pytest.approx(0.0, abs=0.05)


def test_too_few_looks_or_runs_say_nothing() -> None:
    assert meter(0.5, looks=5).leak("m") is None
    assert meter(0.5, looks=20, runs_each=1).leak("m") is None
    assert meter(0.5, looks=20).leak("other") is None


def test_growth_while_something_else_happened_is_nobodys() -> None:
    found = meter(0.5, looks=20)
    found.observe(2000.0, {"m": 500, "n": 0})  # another model was loaded
    assert found.leak("m") is None
    for at in range(20):  # and both ran
        found.observe(2000.0 + at, {"m": 500 + 20 * at, "n": 20 * at})
    assert found.leak("m") is None
    assert found.leak("n") is None
