"""Shares of a batch: every row once, each part at least one, faster browsers never fewer."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.core.split import shares

ROW_MS = st.lists(st.one_of(st.none(), st.floats(0.01, 1e4)), min_size=1, max_size=12)


@given(ROW_MS, st.integers(0, 5000))
def test_every_row_goes_to_one_part_and_no_part_is_empty(
    row_ms: list[float | None], extra: int
) -> None:
    rows = len(row_ms) + extra
    split = shares(rows, row_ms)
    assert sum(split) == rows
    assert len(split) == len(row_ms)
    assert min(split) >= 1


@given(st.lists(st.floats(0.01, 1e4), min_size=2, max_size=8), st.integers(0, 5000))
def test_a_faster_browser_gets_no_fewer_rows(row_ms: list[float], extra: int) -> None:
    split = shares(len(row_ms) + extra, row_ms)
    ordered = [count for _, count in sorted(zip(row_ms, split, strict=True), key=lambda p: p[0])]
    assert all(slower <= faster + 1 for faster, slower in itertools.pairwise(ordered))


def test_shares_follow_the_measured_speed() -> None:
    assert shares(12, [1.0, 2.0]) == [8, 4]
    assert shares(10, [None, None, None]) == [4, 3, 3]
    assert shares(12, [1.0, 2.0, None]) == [5, 3, 4]


def test_fewer_rows_than_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="1 rows cannot be split over 2"):
        shares(1, [1.0, 1.0])
