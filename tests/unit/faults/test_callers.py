"""Callers in threads: they ask until they are stopped, and tell what befell them."""

from __future__ import annotations

import functools
import random
import threading

from webpool_site.lab.faults.callers import Callers


class Asking(Callers):
    """Each draws a number and is refused; one is hurt; `held` keeps them at it."""

    def __init__(self, *seeds: str) -> None:
        super().__init__()
        self.drawn: dict[str, list[float]] = {seed: [] for seed in seeds}
        self.enough, self.held = threading.Event(), threading.Event()
        self.held.set()
        for seed in seeds:
            self._add(functools.partial(self._ask, seed), seed)

    def _ask(self, seed: str, draw: random.Random) -> None:
        self.drawn[seed].append(draw.random())
        self._refused("Busy")
        self._unexpected(f"asking as {seed}", ValueError("odd"))
        if all(self.drawn.values()):
            self.enough.set()
            self.held.wait()


def test_they_ask_until_they_are_stopped_by_what_their_seed_draws() -> None:
    callers = Asking("one", "two")
    callers.start()
    assert callers.enough.wait(60)
    assert callers.stop(60)
    for seed, drawn in callers.drawn.items():
        right = random.Random(seed)
        assert drawn == [right.random() for _ in drawn]
    count = sum(map(len, callers.drawn.values()))
    assert callers.refused == {"Busy": count}
    assert len(callers.unexpected) == count
    assert {*callers.unexpected} == {f"asking as {seed}: ValueError: odd" for seed in callers.drawn}


def test_who_does_not_end_in_time_is_told() -> None:
    callers = Asking("one")
    callers.held.clear()
    callers.start()
    assert callers.enough.wait(60)
    assert not callers.stop(0.1)
    callers.held.set()
    assert callers.stop(60)
