"""When two answers agree, and when their bits are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from browsers.core.answers.agreement import HALF, SINGLE, disagreement, same_bits, varies
from browsers.core.protocol import WireTensor, pack_strings


def wire(values: Any, dtype: str = "float32", name: str = "y") -> list[WireTensor]:
    array = np.array(values, dtype)
    return [WireTensor(name, dtype, array.shape, array.tobytes())]


def agree(got: list[WireTensor], want: list[WireTensor], tolerance: float = SINGLE) -> bool:
    return not disagreement(got, want, tolerance=tolerance)


def test_floats_agree_up_to_a_tolerance_of_the_largest() -> None:
    assert agree(wire([100, 1]), wire([100.009, 1]))
    assert not agree(wire([100, 1]), wire([100.02, 1]))
    assert agree(wire([100, 1]), wire([101, 1]), HALF)
    assert not agree(wire([100, 1]), wire([103, 1]), HALF)
    assert agree(wire([0.5], "float16"), wire([0.51], "float16"))


def test_numbers_that_stand_for_infinity_are_no_measure_for_others() -> None:
    lowest = float(np.finfo(np.float32).min)
    assert agree(wire([lowest, 1, 2]), wire([lowest, 1, 2.0001]))
    assert not agree(wire([lowest, 99, -5]), wire([lowest, 1, 2]))
    assert not agree(wire([lowest / 2, 1]), wire([lowest, 1]))


def test_small_numbers_are_an_answer_where_that_is_asked_for() -> None:
    zeros, small = wire([0.0, 0.0]), wire([1e-5, 3e-5])
    assert agree(zeros, small)
    assert disagreement(zeros, small, tolerance=SINGLE, least_scale=1e-6)
    assert disagreement(zeros, small, tolerance=HALF, least_scale=1e-6)


def test_what_is_not_finite_is_so_in_the_same_places() -> None:
    assert agree(wire([np.nan, np.inf, 1]), wire([np.nan, np.inf, 1]))
    assert "finite" in disagreement(wire([1, 1]), wire([np.nan, 1]), tolerance=SINGLE)
    assert not agree(wire([np.nan, 1]), wire([1, 1]))
    assert not agree(wire([np.inf, 1]), wire([-np.inf, 1]))


def test_all_else_agrees_exactly() -> None:
    assert agree(wire([1, 2], "int64"), wire([1, 2], "int64"))
    assert not agree(wire([1, 2], "int64"), wire([1, 3], "int64"))
    assert not agree(wire([1]), wire([1, 1]))
    assert not agree(wire([1]), wire([1], "float16"))
    assert not agree(wire([1]), wire([1], name="z"))
    assert not agree(wire([1]), [*wire([1]), *wire([1], name="z")])
    texts = [[WireTensor("y", "string", (1,), pack_strings([text]))] for text in ("a", "a", "b")]
    assert agree(texts[0], texts[1])
    assert not agree(texts[0], texts[2])


def test_bits_are_the_same_or_not() -> None:
    third = np.float32(1) / np.float32(3)
    assert same_bits(wire([third]), wire([third]))
    assert not same_bits(wire([third]), wire([np.nextafter(third, np.float32(1))]))
    assert same_bits(wire([np.nan]), wire([-np.nan]))


@pytest.mark.parametrize(
    ("answers", "expected"),
    [([[1, 1]], set()), ([[1, 2]], {"y"}), ([[1, 1], [2, 2]], {"y"}), ([[], []], set())],
)
def test_an_output_varies_when_it_is_not_one_number_throughout(
    answers: list[list[int]], expected: set[str]
) -> None:
    assert varies([wire(one) for one in answers]) == expected
