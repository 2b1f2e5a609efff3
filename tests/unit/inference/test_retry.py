"""What happens to a shard whose attempt failed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from browsers.core.failures import Category, Retry
from inference.core.retry import Next, decide

FIRST = {
    Retry.HERE: Next.RETRY_SAME,
    Retry.ELSEWHERE: Next.MOVE,
    Retry.NEVER_HERE: Next.MOVE_FOR_GOOD,
    Retry.NEVER: Next.FAIL,
}


@pytest.mark.parametrize("category", list(Category))
def test_a_first_failure_goes_where_its_category_says(category: Category) -> None:
    decision = decide(category, attempts=1, max_retries=3, already_avoided=False)
    assert decision.next is FIRST[category.retry]
    assert category in decision.reason


def test_bad_input_is_never_retried() -> None:
    decision = decide(Category.INVALID_INPUT, attempts=1, max_retries=5, already_avoided=False)
    assert decision.next is Next.FAIL


def test_a_crash_moves_at_once() -> None:
    decision = decide(Category.BROWSER_CRASH, attempts=1, max_retries=3, already_avoided=False)
    assert decision.next is Next.MOVE


def test_a_transient_error_stays_once_and_then_moves() -> None:
    first = decide(Category.CONNECTION, attempts=1, max_retries=3, already_avoided=False)
    second = decide(Category.CONNECTION, attempts=2, max_retries=3, already_avoided=True)
    assert (first.next, second.next) == (Next.RETRY_SAME, Next.MOVE)


@given(
    category=st.sampled_from(Category),
    max_retries=st.integers(0, 10),
    avoided=st.booleans(),
)
def test_attempts_are_bounded(category: Category, max_retries: int, avoided: bool) -> None:
    last = decide(
        category, attempts=max_retries + 1, max_retries=max_retries, already_avoided=avoided
    )
    assert last.next is Next.FAIL
