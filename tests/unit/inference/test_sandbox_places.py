"""Whose job is done now: one of each owner, those who wait in turn, and not too many of one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from inference import sandbox
from inference.errors import Busy

SOON_S = 60.0


class Line:
    """Jobs that hold a place until they are let go; `begun` are those that have had one, in order."""

    def __init__(self, places: sandbox.Places) -> None:
        self._places, self._threads = places, ThreadPoolExecutor(16)
        self._changed, self._let_go = threading.Condition(), set[str]()
        self.begun: list[str] = []

    def send(self, owner: str, job: str) -> Future[None]:
        """Returns once it holds its place, or waits for one."""
        before = self.places_asked()
        future = self._threads.submit(self._do, owner, job)
        self._until(lambda: job in self.begun or self.places_asked() > before or future.done())
        return future

    def let_go(self, job: str, *, then: str = "") -> None:
        """End a job; returns once another one holds its place."""
        with self._changed:
            self._let_go.add(job)
            self._changed.notify_all()
        self._until(lambda: not then or then in self.begun)

    def places_asked(self) -> int:
        with self._places._changed:
            return sum(map(len, self._places._waiting.values()))

    def _do(self, owner: str, job: str) -> None:
        with sandbox.on_behalf_of(owner), self._places.taken(), self._changed:
            self.begun.append(job)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: job in self._let_go, SOON_S)

    def _until(self, so: Callable[[], bool]) -> None:
        until = time.monotonic() + SOON_S
        with self._changed:
            while not so():
                assert time.monotonic() < until, f"begun: {self.begun}"
                self._changed.wait(0.01)

    def close(self) -> None:
        with self._changed:
            self._let_go |= {str(number) for number in range(100)}
            self._changed.notify_all()
        self._threads.shutdown(cancel_futures=True)


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line(sandbox.Places("a file read", 2))
    yield made
    made.close()


def test_one_owner_has_one_place_and_another_goes_before_what_it_has_waiting(line: Line) -> None:
    for job in "123":
        line.send("key greedy", job)
    line.send("key other", "4")
    assert line.begun == ["1", "4"]
    line.send("key third", "5")
    line.let_go("1", then="5")
    assert line.begun == ["1", "4", "5"], "who was never served comes first"
    line.let_go("4", then="2")
    assert line.begun == ["1", "4", "5", "2"]


def test_one_owner_may_have_so_many_waiting_and_is_told(line: Line) -> None:
    for job in "12345":
        line.send("key greedy", job)
    with pytest.raises(Busy, match="4 of key greedy wait already to have a file read"):
        line.send("key greedy", "6").result(SOON_S)
    line.send("key other", "7")
    assert line.begun == ["1", "7"]


def test_what_was_let_in_is_not_refused_in_its_middle() -> None:
    places = sandbox.Places("a file read", most_waiting=1)
    line, begun, go = Line(places), threading.Event(), threading.Event()

    def two_jobs() -> None:
        with sandbox.on_behalf_of("key greedy"):
            with places.taken():
                begun.set()
            assert go.wait(SOON_S)
            with places.taken():
                pass

    with ThreadPoolExecutor(1) as threads:
        errand = threads.submit(two_jobs)
        assert begun.wait(SOON_S)
        for job in "12":
            line.send("key greedy", job)
        with pytest.raises(Busy):
            line.send("key greedy", "3").result(SOON_S)
        go.set()
        line.let_go("1", then="2")
        line.let_go("2")
        errand.result(SOON_S)
    line.close()


@pytest.mark.parametrize("owner", ["", "anonymous", "command line"])
def test_jobs_of_nobody_in_particular_take_what_is_free(line: Line, owner: str) -> None:
    for job in "1234567":
        line.send(owner, job)
    assert line.begun == ["1", "2"]
    line.send("key other", "8")
    line.let_go("1", then="8")
    assert line.begun == ["1", "2", "8"]


def test_where_an_owner_may_have_some_places_one_is_left_for_others() -> None:
    line = Line(sandbox.Places("a picture read", 3, each=2, most_waiting=None))
    for job in "12345678":
        line.send("key greedy", job)
    line.send("key other", "9")
    assert line.begun == ["1", "2", "9"]
    line.close()


def test_a_job_that_fails_gives_its_place_back() -> None:
    places = sandbox.Places("a file read", 1)
    for _ in range(2):
        with (
            pytest.raises(ZeroDivisionError),
            sandbox.on_behalf_of(lambda: "key asked late"),
            places.taken(),
        ):
            _ = 1 / 0
