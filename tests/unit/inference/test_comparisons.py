"""Comparisons, decided: whose turn it is, what a cell becomes, intervals, differences and their words."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from browsers.core.failures import Category
from inference.core.comparisons.cells import (
    CellState,
    Place,
    after_failures,
    measured,
    tried_again,
    worse,
)
from inference.core.comparisons.differences import differences, holm, said, too_few
from inference.core.comparisons.figures import quantile
from inference.core.comparisons.operators import operator_at_fault
from inference.core.comparisons.slowdowns import LEAST_RATIO, slowdowns
from inference.core.comparisons.totals import Part, Total, total
from inference.core.comparisons.turns import Seat, next_turn


def times(factor: float = 1.0, seed: int = 0, count: int = 20) -> list[float]:
    return list(factor * np.random.default_rng(seed).lognormal(3.0, 0.05, count))


@given(st.integers(0, 99), st.integers(1, 6), st.integers(1, 5))
def test_each_round_gives_each_open_cell_one_turn(seed: int, cells: int, rounds: int) -> None:
    turns = [0] * cells
    for number in range(rounds):
        order = []
        for _ in range(cells):
            index = next_turn(seed, [Seat(i, n, True) for i, n in enumerate(turns)])
            assert index is not None
            order.append(index)
            turns[index] += 1
        assert sorted(order) == list(range(cells))
        assert turns == [number + 1] * cells


def test_the_order_is_the_seeds_and_another_one_in_each_round() -> None:
    def order(seed: int, round_: int) -> list[int]:
        turns = [round_] * 6
        found = []
        for _ in turns:
            index = next_turn(seed, [Seat(i, n, True) for i, n in enumerate(turns)])
            assert index is not None
            found.append(index)
            turns[index] += 1
        return found

    assert order(1, 1) == order(1, 1)
    assert len({tuple(order(1, round_)) for round_ in range(1, 6)}) > 1
    assert order(1, 0) == list(range(6))


def test_closed_cells_get_no_turn_and_none_is_left_at_the_end() -> None:
    assert next_turn(0, [Seat(0, 3, False), Seat(1, 1, True), Seat(2, 0, False)]) == 1
    assert next_turn(0, [Seat(0, 3, False)]) is None


@pytest.mark.parametrize("share", [0.5, 0.95])
@pytest.mark.parametrize("count", [1, 5, 6, 20, 71, 72, 200])
def test_intervals_hold_the_quantile_as_often_as_they_say(count: int, share: float) -> None:
    found = quantile(list(range(count)), share)
    below = scipy.stats.binom(count, share)
    outside = (below.cdf(found.low) if found.low is not None else 0.0) + (
        below.sf(found.high) if found.high is not None else 0.0
    )
    assert outside <= 0.05


def test_few_runs_bound_no_95th_percentile_above() -> None:
    assert quantile(times(), 0.95).high is None
    assert quantile(times(count=72), 0.95).high is not None


def test_a_browser_that_is_a_fifth_slower_is_found_and_said() -> None:
    (one,) = differences({"firefox wasm": times(1.2, seed=1), "chromium wasm": times(seed=2)})
    assert (one.slower, one.faster) == ("firefox wasm", "chromium wasm")
    assert one.shown
    assert one.low is not None
    assert one.high is not None
    assert one.low < 1.2 < one.high
    assert said(one).startswith("firefox wasm is ")
    assert said(one).endswith(" times as slow as chromium wasm")


def test_equal_cells_are_not_said_to_differ() -> None:
    (one,) = differences({"a": times(seed=1), "b": times(seed=2)})
    assert not one.shown
    assert said(one).startswith("no difference shown between")
    assert "with 20 runs" in said(one)


def test_runs_that_could_show_nothing_are_said_to_be_too_few() -> None:
    """Also where the one is always slower: eight cells have 28 pairs, for which Holm corrects."""
    cells = {f"c{at}": [*range(100 * at, 100 * at + 6)] for at in range(8)}
    assert not any(one.shown for one in differences(cells))
    assert too_few(cells).startswith("6 runs of each of 8 cells cannot show which is faster")
    assert too_few(cells).endswith("; 7 runs can")
    seven = {name: [*values, values[-1] + 1] for name, values in cells.items()}
    assert all(one.shown for one in differences(seven)) and not too_few(seven)
    assert too_few({"a": [1.0], "b": [2.0], "c": []}).endswith("; 5 runs can")
    assert not too_few({"a": [1.0]})


def test_of_six_equal_cells_hardly_any_pair_is_found_different() -> None:
    """Holm keeps the chance of any false one below 5 %."""
    found = 0
    for seed in range(60):
        arms = {f"c{i}": times(seed=seed * 10 + i) for i in range(6)}
        found += any(one.shown for one in differences(arms))
    assert found <= 6


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_a_place_that_takes_a_quarter_longer_than_before_is_found() -> None:
    steady, slowed, new = (Place(kind, "wasm", "none") for kind in ("a", "b", "c"))
    before = {steady: times(seed=1), slowed: times(seed=2)}
    now = {steady: times(seed=3), slowed: times(1.25, seed=4), new: times(seed=5)}
    found = slowdowns(now, before)
    assert ([one.place for one in found.places], found.everywhere) == ([slowed], False)
    (one,) = found.places
    assert LEAST_RATIO <= one.low < 1.25 < one.high
    assert re.fullmatch(r"b wasm takes 1\.\d to 1\.\d times as long", one.said(str(slowed)))


def test_what_is_hardly_slower_or_faster_than_before_is_not_told() -> None:
    place = Place("a", "wasm", "none")
    for factor in (1.08, 0.5):
        now, before = {place: times(factor, seed=1, count=400)}, {place: times(seed=2, count=400)}
        assert slowdowns(now, before).places == ()
    assert slowdowns({place: times(3.0, count=4)}, {place: times()}).places == (), "too few runs"


def test_where_every_place_is_slower_that_is_said() -> None:
    places = [Place(kind, "wasm", "none") for kind in "ab"]
    before = {place: times(seed=at) for at, place in enumerate(places)}
    now = {place: times(1.5, seed=at + 9) for at, place in enumerate(places)}
    assert slowdowns(now, before).everywhere
    one = places[:1]
    assert not slowdowns({p: now[p] for p in one}, {p: before[p] for p in one}).everywhere


def test_times_of_zero_have_no_ratio() -> None:
    (one,) = differences({"a": [0.0] * 6 + [1.0] * 6, "b": [2.0] * 12})
    assert (one.slower, one.ratio) == ("b", None)
    assert "too short for a ratio" in said(one)


@pytest.mark.parametrize(
    ("category", "misses", "again"),
    [
        (Category.BROWSER_CRASH, 1, True),
        (Category.BROWSER_CRASH, 2, False),
        (Category.UNSUPPORTED_OPERATION, 1, False),
        (Category.TENSOR_LOST, 3, True),
        (Category.TENSOR_LOST, 4, False),
        (Category.INVALID_INPUT, 1, False),
    ],
)
def test_what_may_pass_is_tried_again(category: Category, misses: int, again: bool) -> None:
    assert tried_again(category, misses) == again


def test_what_a_cell_becomes() -> None:
    assert after_failures(Category.NO_BROWSER, turns=0, proved_wrong=False) == CellState.UNTRIED
    assert after_failures(Category.NO_BROWSER, turns=2, proved_wrong=False) == CellState.FAILED
    assert after_failures(Category.TIMEOUT, turns=0, proved_wrong=False) == CellState.FAILED
    assert after_failures(Category.UNSUPPORTED_OPERATION, turns=0, proved_wrong=True) == "wrong"
    assert measured(wrong="", judged=True) == CellState.MEASURED
    assert measured(wrong="off", judged=True) == CellState.WRONG
    assert measured(wrong="", judged=False) == CellState.NOT_JUDGED


def test_worse_is_what_was_right_and_is_not() -> None:
    a, b, c = (Place(kind, "wasm", "none") for kind in "abc")
    now = {a: CellState.WRONG, b: CellState.FAILED, c: CellState.MEASURED}
    before = {a: CellState.MEASURED, b: CellState.FAILED, c: CellState.WRONG}
    assert worse(now, before) == [a]
    cut = Place("a", "wasm", "layer:2")
    assert worse({cut: CellState.WRONG}, before) == [], "it never was right when it was cut"
    assert [str(a), str(cut)] == ["a wasm", "a wasm layer:2"]


def test_a_run_of_several_files_takes_what_its_shards_take() -> None:
    def part(file: str, warm: bool, load_ms: float | None, compute_ms: float) -> Part:
        return Part(file, warm, load_ms, compute_ms, {"CPUExecutionProvider": 2})

    first = [part("a", False, 30.0, 4.0), part("a", True, None, 3.0), part("b", False, 10.0, 5.0)]
    assert total(first) == Total(40.0, 12.0, None, {"CPUExecutionProvider": 4})
    later = [part("a", True, None, 4.0), part("b", True, None, 5.0)]
    assert total(later) == Total(None, None, 9.0, {"CPUExecutionProvider": 4})
    mixed = [part("a", True, None, 4.0), part("b", False, 10.0, 5.0)]
    assert (total(mixed).load_ms, total(mixed).first_ms, total(mixed).warm_ms) == (None,) * 3


@pytest.mark.parametrize(
    ("error", "operator"),
    [
        (
            "ERROR_CODE: 9, Could not find an implementation for MatMul(9) node with name 'first'",
            "MatMul (node 'first')",
        ),
        ("Non-zero status code returned while running Conv node. Name:'c1' Status", "Conv (node 'c1')"),
        ("was false. Provider type for MatMul node with name '' is not set.", "MatMul"),
        ("no backend of this browser can run the model", ""),
    ],
)  # fmt: skip
def test_the_operator_at_fault(error: str, operator: str) -> None:
    assert operator_at_fault(error) == operator
