"""Measured values as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from history.numbers import number


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (85.94410956242984, "85.9"), (1000.0, "1,000"), (123456.7, "123,457"), (0.0, "0"),
        (0.0123456, "0.0123"), (10.0, "10"), (99.96, "100"), (2.5e-8, "2.5e-08"), (None, "unknown"),
        (math.inf, "unknown"), (math.nan, "unknown"), (-3.14159, "-3.14"),
    ],
)  # fmt: skip
def test_three_digits_say_enough(value: float | None, read: str) -> None:
    assert number(value) == read


def test_a_unit_stands_behind_what_is_known() -> None:
    assert number(1234.5, "ms") == "1,234 ms"
    assert number(None, "ms") == "unknown"


@given(st.floats(1e-3, 1e9, exclude_max=True))
def test_what_is_read_is_near_what_was_measured(value: float) -> None:
    read = number(value)
    assert "e" not in read
    assert float(read.replace(",", "")) == pytest.approx(value, rel=0.006)
