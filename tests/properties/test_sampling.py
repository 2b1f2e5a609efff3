"""Drawing a token: the same as a plain definition, however many of the logits are known."""

from __future__ import annotations

import itertools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from inference.core.generation.sampled import Sampling, TopLogits
from inference.core.generation.sampling import draw, uniform

_LOGITS = st.one_of(st.floats(-30, 30, width=32), st.sampled_from([0.0, -0.0, 1.0, 2.0, -math.inf]))


@st.composite
def rows(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    values = draw(st.lists(_LOGITS, min_size=1, max_size=40))
    values[draw(st.integers(0, len(values) - 1))] = 3.0
    return np.array(values, np.float32)


@st.composite
def samplings(draw: st.DrawFn, size: int = 40, *, moves: bool = True) -> Sampling:
    penalty = st.sampled_from([0.0, 0.5, -1.25]) if moves else st.just(0.0)
    tokens = st.integers(0, size - 1)
    return Sampling(
        temperature=draw(st.sampled_from([0.0, 1e-6, 0.5, 1.0, 2.0])),
        top_p=draw(st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0])),
        top_k=draw(st.integers(0, 5)),
        min_p=draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        frequency_penalty=draw(penalty),
        presence_penalty=draw(penalty),
        repetition_penalty=draw(st.sampled_from([1.0, 1.3, 0.8])) if moves else 1.0,
        logit_bias=draw(st.dictionaries(tokens, st.sampled_from([-100.0, 5.0]), max_size=2))
        if moves
        else {},
        seed=draw(st.integers(-(2**63), 2**63 - 1)),
        logprobs=draw(st.integers(0, 5)),
    )


def plainly(
    row: Sequence[float],
    ask: Sampling,
    at: int,
    written: Sequence[int],
    prompt: Sequence[int],
    may_come: Callable[[int], bool] = lambda token: True,
) -> int:
    """The definition, without a thought for speed."""
    moved = [float(logit) for logit in row]
    for token, bias in ask.logit_bias.items():
        moved[token] += bias
    for token in {*written, *prompt}:
        by = ask.repetition_penalty
        moved[token] = moved[token] / by if moved[token] > 0 else moved[token] * by
    for token, often in Counter(written).items():
        moved[token] -= ask.frequency_penalty * often + ask.presence_penalty
    moved = [float(np.float32(logit)) for logit in moved]
    order = sorted(filter(may_come, range(len(moved))), key=lambda token: (-moved[token], token))
    if ask.temperature == 0:
        return order[0]
    if ask.top_k:
        order = order[: ask.top_k]
    with np.errstate(over="ignore"):
        scaled = np.array([moved[token] - moved[order[0]] for token in order]) / ask.temperature
    weights = np.exp(scaled).tolist()
    if ask.top_p < 1:
        target, reached, count = ask.top_p * sum(weights), 0.0, 0
        for weight in weights:
            reached, count = reached + weight, count + 1
            if reached >= target:
                break
        weights = weights[:count]
    weights = [weight for weight in weights if weight >= ask.min_p]
    share, reached = uniform(ask.seed, at) * sum(weights), 0.0
    for token, weight in zip(order, weights, strict=False):
        reached += weight
        if reached > share:
            return token
    raise AssertionError("a share below 1 lies in some part of the sum")


def ids(tokens: Iterable[int]) -> np.ndarray[Any, Any]:
    return np.array(sorted(tokens), np.int64)


@given(st.data(), rows(), st.integers(0, 10**6))
def test_a_draw_is_the_one_that_the_definition_gives(
    data: st.DataObject, row: np.ndarray[Any, Any], at: int
) -> None:
    ask = data.draw(samplings(len(row)))
    tokens = st.lists(st.integers(0, len(row) - 1), max_size=6)
    written, prompt = data.draw(tokens), data.draw(tokens)
    pick = draw(TopLogits.of_row(row), ask, at, written, prompt)
    assert pick.token == plainly(row.tolist(), ask, at, written, prompt)


@given(rows(), samplings(moves=False), st.integers(0, 10**6))
def test_as_many_logits_as_are_needed_give_what_all_of_them_give(
    row: np.ndarray[Any, Any], ask: Sampling, at: int
) -> None:
    few, whole = TopLogits.of_row(row, ask.needs()), TopLogits.of_row(row)
    assert draw(few, ask, at, (), ()) == draw(whole, ask, at, (), ())


@given(st.data(), rows(), st.integers(0, 10**6))
def test_what_is_suppressed_or_not_allowed_never_comes_and_the_rest_as_if_it_were_not_there(
    data: st.DataObject, row: np.ndarray[Any, Any], at: int
) -> None:
    ask = data.draw(samplings(len(row)))
    sure = data.draw(st.sampled_from(np.flatnonzero(row == 3.0).tolist()))
    never = data.draw(st.sets(st.integers(0, len(row) - 1).filter(lambda token: token != sure)))
    form = data.draw(st.none() | st.lists(st.booleans(), min_size=len(row), max_size=len(row)))
    allowed = None if form is None else np.array(form) | (np.arange(len(row)) == sure)
    written = data.draw(st.lists(st.integers(0, len(row) - 1), max_size=3))
    pick = draw(TopLogits.of_row(row), ask, at, written, (0,), allowed, ids(never))
    may_come = [
        token not in never and (allowed is None or allowed[token]) for token in range(len(row))
    ]
    assert pick.token == plainly(row.tolist(), ask, at, written, (0,), may_come.__getitem__)
    assert may_come[pick.token]


@given(st.data(), rows(), samplings(moves=False), st.integers(0, 10**6))
def test_so_many_more_logits_as_are_suppressed_are_enough(
    data: st.DataObject, row: np.ndarray[Any, Any], ask: Sampling, at: int
) -> None:
    """Also where they are the largest, where the list is longer than `top_k`, and of equal ones."""
    order = np.argsort(-row, kind="stable").tolist()
    largest = order[: data.draw(st.integers(0, len(row) - 1))]
    more = data.draw(st.sets(st.integers(0, len(row) - 1)))
    never = ids({*largest, *more} - {int(np.argmax(row == 3.0))})
    few, whole = TopLogits.of_row(row, ask.needs(len(never))), TopLogits.of_row(row)
    told = [draw(top, ask, at, (), (), None, never) for top in (few, whole)]
    assert told[0] == told[1]
    assert [token for token, _ in told[0].top] == order[: ask.logprobs], "the model's own likeliest"


def test_one_logit_less_is_not_enough() -> None:
    row = np.array([5.0, 4.0, 4.0, 3.0, 2.0], np.float32)
    never, ask = ids({0, 2}), Sampling()
    assert ask.needs(2) == 3
    assert draw(TopLogits.of_row(row, 3), ask, 0, (), (), None, never).token == 1
    with pytest.raises(ValueError, match="expected 3 of the largest logits"):
        draw(TopLogits.of_row(row, 2), ask, 0, (), (), None, never)
    for few in (Sampling(temperature=1.0, top_k=1), Sampling(temperature=1.0, top_k=2)):
        assert few.needs(2) == 2 + few.top_k
    assert Sampling(logprobs=5).needs(2) == 5
    assert Sampling(temperature=1.0).needs(2) == Sampling(presence_penalty=1.0).needs(2) == 0


def test_nothing_that_may_come_is_an_error_and_no_suppressed_token() -> None:
    row = np.array([5.0, -math.inf, 4.0], np.float32)
    for ask in (Sampling(), Sampling(temperature=1.0), Sampling(logit_bias={0: 100.0})):
        with pytest.raises(ValueError, match="no token that may come here"):
            draw(TopLogits.of_row(row), ask, 0, (), (), None, ids({0, 2}))


@given(rows(), st.integers(0, 5))
def test_the_largest_come_first_and_of_equals_the_smaller_id(
    row: np.ndarray[Any, Any], count: int
) -> None:
    top = TopLogits.of_row(row, count)
    order = sorted(range(len(row)), key=lambda token: (-row[token], token))
    assert top.ids.tolist() == order[: count or None]
    assert top.logits.tolist() == row[top.ids].tolist()
    assert top.complete == (len(top.ids) == len(row))


@given(rows(), samplings(moves=False))
def test_log_probabilities_are_the_model_s_own(row: np.ndarray[Any, Any], ask: Sampling) -> None:
    wide = row.astype(np.float64)
    shares = np.exp(wide - wide.max()) / np.exp(wide - wide.max()).sum()
    pick = draw(TopLogits.of_row(row), ask, 0, (), ())
    assert math.exp(pick.logprob) == pytest.approx(shares[pick.token], rel=1e-9)
    assert len(pick.top) == min(ask.logprobs, len(row))
    assert all(math.exp(told) == pytest.approx(shares[token]) for token, told in pick.top)


@pytest.mark.parametrize("size", [30.0, 1e6, 1e30])
@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-300, 1e-39, 2.0])
def test_every_number_at_its_bound_draws_what_the_definition_gives(
    size: float, temperature: float
) -> None:
    row = np.array([size, size / 2, 0.0, -size, -size / 2, -math.inf], np.float32)
    bounds: dict[str, Any] = {
        "top_p": (0.0, 5e-324, 1.0),
        "min_p": (0.0, 5e-324, 1.0),
        "frequency_penalty": (-2.0, 2.0),
        "presence_penalty": (-2.0, 2.0),
        "repetition_penalty": (0.01, 10.0),
    }
    biases: tuple[dict[int, float], ...] = ({}, {1: 100.0, 5: 100.0}, {0: -100.0})
    for numbers in itertools.product(*bounds.values()):
        for bias in biases:
            ask = Sampling(
                temperature, logit_bias=bias, seed=3, **dict(zip(bounds, numbers, strict=True))
            )
            with warnings.catch_warnings(action="error"):
                pick = draw(TopLogits.of_row(row), ask, 7, (1, 1, 2), (0,))
            assert pick.token == plainly(row.tolist(), ask, 7, (1, 1, 2), (0,))


def test_tokens_come_as_often_as_their_probabilities_say() -> None:
    row = np.array([1.0, 2.0, 0.0, 3.0, -2.0], np.float32)
    ask, top = Sampling(temperature=1.3, seed=7), TopLogits.of_row(row)
    draws = Counter(draw(top, ask, at, (), ()).token for at in range(8000))
    weights = np.exp(row.astype(np.float64) / 1.3)
    shares = weights / weights.sum()
    assert chisquare([draws[token] for token in range(5)], shares * 8000).pvalue > 0.001


def test_random_numbers_follow_from_seed_and_position_alone() -> None:
    first = [uniform(seed, at) for seed in (-1, 0, 1, 2**63) for at in (0, 1, 2, 10**9)]
    assert len(set(first)) == len(first)
    # What they are is a promise, too: a text that was seeded yesterday is the same after an upgrade.
    assert (uniform(0, 0), uniform(42, 7)) == (0.011546754286331562, 0.4074136540795371)


@pytest.mark.parametrize(
    ("ask", "known"),
    [
        (Sampling(temperature=1.0), 4),
        (Sampling(temperature=1.0, top_k=5), 4),
        (Sampling(presence_penalty=1.0), 4),
        (Sampling(logprobs=5), 4),
    ],
)
def test_a_draw_from_too_few_logits_is_refused(ask: Sampling, known: int) -> None:
    row = np.arange(9, dtype=np.float32)
    with pytest.raises(ValueError, match="of the largest logits"):
        draw(TopLogits.of_row(row, known), ask, 0, (1,), ())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_refused(bad: float) -> None:
    row = np.array([0.0, bad, 1.0], np.float32)
    with pytest.raises(ValueError, match="expected logits that are numbers"):
        TopLogits.of_row(row)
    told = TopLogits(np.array([1, 2, 0]), np.array([bad, 1.0, 0.0], np.float32), 1.0, True)
    alone = TopLogits(np.array([1]), np.array([bad], np.float32), 1.0, False)
    for each in (told, alone):
        with pytest.raises(ValueError, match="expected logits that are numbers"):
            draw(each, Sampling(), 0, (), ())


def test_a_bias_of_no_token_is_refused() -> None:
    top = TopLogits.of_row(np.zeros(4, np.float32))
    for token in (-1, 4):
        with pytest.raises(ValueError, match=f"token {token} is none of the 4"):
            draw(top, Sampling(logit_bias={token: 1.0}), 0, (), ())
