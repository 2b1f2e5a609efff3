"""Whose requests the server works for when: who is held up, for how long, and who is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import Busy
from inference.runs.shares import Shares, stranger


class Callers:
    """Requests one after another on a clock of their own, each of which takes so much of the processor."""

    def __init__(self) -> None:
        self.shares = Shares()
        self.now = 1000.0

    def request(self, owner: str, cost_s: float) -> float:
        """Answers one; returns how long it waited for its turn."""
        asked = self.now
        begins = self.shares.book(owner, self.now, 0.001)
        while (left := self.shares.left_s(owner, begins, self.now)) > 0:
            self.now += left
        self.shares.charge(owner, cost_s, self.now)
        self.now += cost_s
        return self.now - cost_s - asked


@pytest.fixture
def callers() -> Callers:
    return Callers()


def test_who_is_alone_never_waits(callers: Callers) -> None:
    assert [callers.request("key a", 1.0) for _ in range(20)] == [0.0] * 20


def test_strangers_hold_nobody_up_and_are_held_up_themselves(callers: Callers) -> None:
    for _ in range(20):
        callers.request(stranger("192.0.2.1"), 0.5)
        assert callers.request("key a", 1.0) == pytest.approx(0.0, abs=1e-9)
    assert callers.request(stranger("192.0.2.1"), 0.5) > 0
    assert callers.request(stranger("192.0.2.2"), 0.5) == 0.0


def test_many_addresses_have_one_strangers_share_together(callers: Callers) -> None:
    took, began = 0.0, callers.now
    for turn in range(600):
        callers.shares.book("key a", callers.now, 0.0)
        callers.request(stranger(f"192.0.2.{turn % 10}"), 0.05)
        took += 0.05
    assert took / (callers.now - began) == pytest.approx(1 / 3, rel=0.15)
    assert stranger("2001:db8::1") == stranger("2001:db8::ffff") != stranger("2001:db8:0:1::1")


def test_one_long_request_holds_its_owner_up_no_longer_than_a_while(callers: Callers) -> None:
    callers.shares.book("key a", callers.now)
    callers.shares.book("key uploads", callers.now)
    callers.shares.charge("key uploads", 60.0, callers.now)
    begins = callers.shares.book("key uploads", callers.now)
    assert 2.5 < callers.shares.left_s("key uploads", begins, callers.now) <= 3.1


def test_who_waits_for_a_long_run_counts_as_one_who_asks(callers: Callers) -> None:
    callers.shares.book("key a", callers.now)
    callers.now += 60
    callers.shares.charge("key a", 0.01, callers.now)
    callers.shares.book("key greedy", callers.now)
    callers.shares.charge("key greedy", 1.0, callers.now)
    begins = callers.shares.book("key greedy", callers.now)
    assert callers.shares.left_s("key greedy", begins, callers.now) > 1


@pytest.mark.parametrize("others", [1, 2, 5])
def test_beside_others_who_take_theirs_one_has_a_share_and_leaves_one(
    callers: Callers, others: int
) -> None:
    took, began = 0.0, callers.now
    for _ in range(600):
        for other in range(others):
            callers.shares.book(f"key {other}", callers.now, 0.0)
            callers.shares.charge(f"key {other}", 0.05, callers.now)
        callers.request("key greedy", 0.05)
        took += 0.05
    assert took / (callers.now - began) == pytest.approx(1 / (others + 2), rel=0.15)


def test_beside_others_who_take_little_one_has_a_third_of_the_time(callers: Callers) -> None:
    took, began = 0.0, callers.now
    for turn in range(600):
        callers.shares.book(f"key {turn % 20}", callers.now, 0.0005)
        callers.request("key greedy", 0.05)
        took += 0.05
    assert took / (callers.now - began) == pytest.approx(1 / 3, rel=0.1)


def test_who_asks_for_less_than_a_share_does_not_wait(callers: Callers) -> None:
    for _ in range(100):
        callers.request("key greedy", 0.05)
        assert callers.request("key modest", 0.01) == 0.0


def test_once_the_others_are_silent_nobody_waits(callers: Callers) -> None:
    for owner in ("key modest", "key greedy"):
        callers.shares.book(owner, callers.now)
    for _ in range(3):
        callers.shares.charge("key greedy", 1.0, callers.now)
    begins = callers.shares.book("key greedy", callers.now)
    assert callers.shares.left_s("key greedy", begins, callers.now) > 5.9
    callers.now += 5.6
    assert callers.shares.left_s("key greedy", begins, callers.now) == 0.0


def test_what_would_wait_too_long_is_refused_with_when_to_come_back(callers: Callers) -> None:
    for owner in ("key modest", "key greedy"):
        callers.shares.book(owner, callers.now)
    for _ in range(8):
        callers.shares.charge("key greedy", 1.0, callers.now)
    with pytest.raises(Busy, match="key greedy has more requests waiting") as caught:
        callers.shares.book("key greedy", callers.now)
    assert caught.value.retry_after_s == 10
    callers.shares.book("key modest", callers.now)


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0, 0.2), st.floats(0, 1)),
        min_size=1,
        max_size=60,
    )
)
def test_every_request_has_its_turn(requests: list[tuple[str, float, float]]) -> None:
    callers = Callers()
    for owner, cost_s, pause_s in requests:
        callers.now += pause_s
        try:
            waited = callers.request(owner, cost_s)
        except Busy:
            continue
        assert 0 <= waited <= 10
