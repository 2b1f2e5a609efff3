"""Numbers and units as pages write them."""

from __future__ import annotations

import pytest

from browsers.core import units


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "unknown"),
        (0, "0"),
        (0.0, "0"),
        (85.94410956242984, "85.9"),
        (1.2e-07, "1.20e-07"),
        (0.00123456, "0.00123"),
        (0.5, "0.5"),
        (9.999, "10"),
        (1234.56, "1,235"),
        (200_000, "200,000"),
        (-12.345, "-12.3"),
        (float("nan"), "nan"),
    ],
)
def test_numbers(value: float | None, said: str) -> None:
    assert units.number(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "unknown"),
        (0.0, "0 ms"),
        (0.345, "0.345 ms"),
        (12.34, "12.3 ms"),
        (999.4, "999 ms"),
        (1000.0, "1 s"),
        (1254.0, "1.25 s"),
        (125_000.0, "2 min 5 s"),
        (7_260_000.0, "2 h 1 min"),
    ],
)
def test_times(value: float | None, said: str) -> None:
    assert units.milliseconds(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "unknown"),
        (0, "0 bytes"),
        (1, "1 byte"),
        (312, "312 bytes"),
        (1229, "1.2 KB"),
        (86.74 * 2**20, "86.7 MB"),
        (950 * 2**20, "950 MB"),
        (1536 * 2**20, "1.5 GB"),
    ],
)
def test_sizes(value: float | None, said: str) -> None:
    assert units.size(value) == said
    assert units.megabytes(None if value is None else value / 2**20) == said
