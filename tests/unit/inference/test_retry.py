"""What happens to a shard whose attempt failed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.core.retry import INCAPABLE, Next, decide

CATEGORIES = [
    "connection", "browser_crash", "device_lost", "out_of_memory", "timeout",
    "unsupported_operation", "browser_capability", "model_incompatible", "invalid_input", "internal",
]  # fmt: skip


@pytest.mark.parametrize("category", ["invalid_input", "model_incompatible"])
def test_bad_input_is_never_retried(category: str) -> None:
    decision = decide(category, attempts=1, max_retries=5, already_avoided=False)
    assert decision.next is Next.FAIL


def test_a_crash_moves_at_once() -> None:
    decision = decide("browser_crash", attempts=1, max_retries=3, already_avoided=False)
    assert decision.next is Next.MOVE


def test_a_transient_error_stays_once_and_then_moves() -> None:
    first = decide("connection", attempts=1, max_retries=3, already_avoided=False)
    second = decide("connection", attempts=2, max_retries=3, already_avoided=True)
    assert (first.next, second.next) == (Next.RETRY_SAME, Next.MOVE)


@pytest.mark.parametrize("category", sorted(INCAPABLE))
def test_a_browser_that_cannot_is_not_asked_again(category: str) -> None:
    decision = decide(category, attempts=1, max_retries=3, already_avoided=False)
    assert decision.next is Next.MOVE_FOR_GOOD


@given(
    category=st.sampled_from(CATEGORIES),
    max_retries=st.integers(0, 10),
    avoided=st.booleans(),
)
def test_attempts_are_bounded(category: str, max_retries: int, avoided: bool) -> None:
    last = decide(
        category, attempts=max_retries + 1, max_retries=max_retries, already_avoided=avoided
    )
    assert last.next is Next.FAIL
