"""The threads that serve requests: what one owner's calls leave to the others'."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.runs.fair_threads import FairThreads


class Held:
    """Calls that last until they are let go, and how many of each owner's have begun."""

    def __init__(self, count: int) -> None:
        self._threads = FairThreads(count, "fair-test")
        self._changed = threading.Condition()
        self._go: Counter[str] = Counter()
        self.begun: list[str] = []

    def send(self, owner: str, times: int = 1) -> list[Future[str]]:
        return [self._threads.submit(owner, lambda: self._hold(owner)) for _ in range(times)]

    def _hold(self, owner: str) -> str:
        with self._changed:
            self.begun.append(owner)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._go[owner] > 0)
            self._go[owner] -= 1
        return owner

    def let_go(self, owner: str, times: int = 1) -> None:
        with self._changed:
            self._go[owner] += times
            self._changed.notify_all()

    def has_begun(self, count: int) -> bool:
        """Waits for so many calls, and a moment for one too many."""
        with self._changed:
            reached = self._changed.wait_for(lambda: len(self.begun) >= count, timeout=30)
            return reached and not self._changed.wait_for(
                lambda: len(self.begun) > count, timeout=0.05
            )


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held(8)
    yield made
    for owner in "abcdefghij":
        made.let_go(owner, 100)


def test_one_owner_alone_leaves_half_of_the_threads(held: Held) -> None:
    futures = held.send("a", 20)
    assert held.has_begun(4)
    held.send("b")
    assert held.has_begun(5)
    held.let_go("a", 20)
    assert [future.result(30) for future in futures] == ["a"] * 20


def test_what_ends_is_left_free_for_the_next_who_comes(held: Held) -> None:
    for owner, begun in zip("abc", (4, 6, 7), strict=True):
        held.send(owner, 20)
        assert held.has_begun(begun)
    held.send("d")
    assert held.has_begun(8)
    held.let_go("a")
    assert held.has_begun(8), "all who wait have as many as are free"
    held.send("e")
    assert held.has_begun(9)
    assert Counter(held.begun) == {"a": 4, "b": 2, "c": 1, "d": 1, "e": 1}


def test_who_was_served_longest_ago_is_next(held: Held) -> None:
    for owner in "abcdefgh":
        held.send(owner)
    assert held.has_begun(8)
    held.send("a")
    held.send("i")
    held.let_go("a")
    assert held.has_begun(9)
    assert held.begun[-1] == "i"


def test_what_has_no_owner_yet_takes_any_free_thread() -> None:
    held = Held(4)
    held.send("", 6)
    assert held.has_begun(4)
    held.let_go("", 6)
    assert held.has_begun(6)


def test_errors_are_the_callers_and_what_is_cancelled_is_not_called() -> None:
    held = Held(2)
    (first,) = held.send("a")
    assert held.has_begun(1)
    (second,) = held.send("a")
    failing = held._threads.submit("a", lambda: 1 / 0)
    assert second.cancel()
    held.let_go("a")
    assert first.result(30) == "a"
    with pytest.raises(ZeroDivisionError):
        failing.result(30)
    assert held.begun == ["a"]


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.booleans()), max_size=30))
def test_every_call_is_answered_once(calls: list[tuple[str, bool]]) -> None:
    threads, called = FairThreads(3, "fair-test"), Counter[int]()

    def call(number: int, fails: bool) -> int:
        called[number] += 1
        if fails:
            raise ValueError(number)
        return number

    futures = [
        threads.submit(owner, lambda number=number, fails=fails: call(number, fails))  # type: ignore[misc]
        for number, (owner, fails) in enumerate(calls)
    ]
    for number, (future, (_, fails)) in enumerate(zip(futures, calls, strict=True)):
        error = future.exception(30)
        assert str(error) == str(number) if fails else future.result(30) == number
    assert called == Counter(range(len(calls)))
