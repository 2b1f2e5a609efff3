"""What is odd about an answer, and which of several counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.core.verification import Next, judge, suspicion


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (floats(0, 1), ""),
        (floats(0, 0), "all zero"),
        (floats(1, np.nan), "not finite"),
        (floats(1, -np.inf), "not finite"),
        (np.zeros(3, np.float16), "all zero"),
        (np.zeros(3, np.int64), ""),
        (np.zeros(3, bool), ""),
        (floats(), ""),
    ],
)
def test_only_floats_can_be_odd(answer: np.ndarray, expected: str) -> None:
    assert suspicion(answer) == expected


def test_who_agrees_is_right_and_who_does_not_is_not() -> None:
    assert judge([True], odd=True, asked_as_odd=True).next is Next.ACCEPT
    two = judge([False, True], odd=False, asked_as_odd=False)
    assert (two.next, two.wrong) == (Next.ACCEPT, (0,))
    sound = judge([False], odd=False, asked_as_odd=True)
    assert (sound.next, sound.wrong) == (Next.ACCEPT, (0,))
    assert judge([False], odd=False, asked_as_odd=False).next is Next.ASK
    assert judge([False, False], odd=True, asked_as_odd=True).next is Next.FAIL


def test_what_is_odd_on_wasm_is_not_overruled_by_another_backend() -> None:
    verdict = judge([False], odd=False, asked_as_odd=True, overrules=False)
    assert (verdict.next, verdict.wrong) == (Next.ASK, ())
    assert judge([True], odd=True, asked_as_odd=True, overrules=False).next is Next.ACCEPT


@given(st.lists(st.booleans(), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_it_ends(agrees: list[bool], odd: bool, asked: bool) -> None:
    verdict = judge(agrees, odd=odd, asked_as_odd=asked)
    assert verdict.next is not Next.ASK or len(agrees) < 2
    assert verdict.next is Next.ACCEPT or not verdict.wrong
