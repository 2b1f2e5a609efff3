from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.core.exploration import (
    Arm,
    Belief,
    draw,
    from_interval,
    from_probe,
    probabilities,
    propensity,
)

A, B, C = Arm("chromium", "wasm"), Arm("firefox", "wasm"), Arm("firefox", "webgpu")
_BELIEFS = st.dictionaries(
    st.sampled_from([A, B, C]),
    st.builds(Belief, st.floats(-3, 3), st.floats(0, 2)),
    min_size=1,
)


@given(_BELIEFS, st.integers(0, 2**32 - 1), st.floats(0, 0.999999))
def test_chances_sum_to_one_and_an_arm_is_drawn_from_them(beliefs, seed, uniform) -> None:
    chances = probabilities(beliefs, np.random.default_rng(seed))
    assert sum(chances.values()) == pytest.approx(1)
    assert chances[draw(chances, uniform)] > 0


@given(_BELIEFS, st.floats(0, 1), st.sampled_from([A, B, C]))
def test_propensities_of_all_arms_sum_to_one(beliefs, share, usual) -> None:
    chances = probabilities(beliefs, np.random.default_rng(0))
    arms = {A, B, C}
    assert sum(propensity(w, usual, chances, share) for w in arms) == pytest.approx(1)


def test_draws_come_as_often_as_their_chances_say() -> None:
    chances = {A: 0.7, B: 0.3, C: 0.0}
    drawn = [draw(chances, u) for u in np.linspace(0, 1, 1000, endpoint=False)]
    assert (drawn.count(A), drawn.count(B), drawn.count(C)) == pytest.approx((700, 300, 0), abs=2)


def test_an_unknown_arm_is_tried_and_a_known_slow_one_is_not() -> None:
    beliefs = {A: Belief(0.0, 0.01), B: from_probe(2.0, 1.0), C: from_interval(3.0, 2.9, 3.1)}
    chances = probabilities(beliefs, np.random.default_rng(0))
    assert chances[B] == pytest.approx(0.24, abs=0.03)  # P(N(ln 2, 1) < 0)
    assert chances[C] == 0


def test_garbage_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Belief(math.nan, 1.0)


def test_nothing_to_choose_from_is_no_choice() -> None:
    assert probabilities({}, np.random.default_rng(0)) == {}
