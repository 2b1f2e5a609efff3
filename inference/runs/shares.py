"""Whose requests this process works for when: of several who ask, none takes more than a share of it.

A process computes one thing at a time (Python's lock), so that a caller who sends without a pause over a
dozen connections would have everybody else wait for its requests. Each owner's requests are therefore spaced,
by what they took of the processor so far, as soon as somebody else asked lately (a leaky bucket, GCRA): to
what the others leave of half of the time, an equal share at least. Whoever is alone is never held up. What
waits holds no thread of `serving.py`, and its body was not read yet.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import threading
import time
from collections.abc import Iterator
from typing import Final

from inference.errors import Busy

_STRANGER: Final = "\0"  # no name of a key or a person begins with it
_LATELY_S: Final = 5.0
_AHEAD_S: Final = 0.02
"""A few requests at once are let in as they come: a page's."""
_MOST_USED: Final = 0.5
"""Of the process's time, beside others: whoever comes finds it resting every other time."""
_MOST_WAIT_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.25
LOOP_S: Final = 0.0015
"""What a request takes beside what is charged: of the event loop, and to look its sender up."""
DJANGO_S: Final = 0.0045
"""The same where Django answers it."""
PAGE_S: Final = 0.01
"""The same of a page of the admin, of which nothing is charged."""


def stranger(address: str) -> str:
    """The owner of what comes from there and is nobody's; strangers are held up, and hold up nobody."""
    return _STRANGER + address


@dataclasses.dataclass(slots=True)
class _Use:
    """Of the processor, lately: older seconds count less."""

    taken_s: float = 0.0
    at: float = 0.0

    def rate(self, now: float) -> float:
        """Which part of the time was taken."""
        return self.taken_s * math.exp((self.at - now) / _LATELY_S) / _LATELY_S

    def add(self, cost_s: float, now: float) -> None:
        self.taken_s, self.at = self.rate(now) * _LATELY_S + cost_s, now


@dataclasses.dataclass(slots=True)
class _Owner:
    """`next_s`: when the next request may begin; `weight`: what its time counts, 0 while alone."""

    seen_s: float
    next_s: float = 0.0
    weight: float = 0.0
    use: _Use = dataclasses.field(default_factory=_Use)


class Shares:
    """Decides alone: times are given, of one clock."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._owners: dict[str, _Owner] = {}
        self._use = _Use()

    def book(self, owner: str, now: float, beside_s: float = LOOP_S) -> float:
        """Ask for a turn; returns when it comes, as far as is known now.

        `beside_s`: what it takes beside what will be charged.

        Raises:
            Busy: it would not come soon.
        """
        with self._changing:
            one = self._seen(owner, now)
            begins = max(now, one.next_s) if one.weight else now
            if begins - now > _MOST_WAIT_S:
                raise Busy(
                    f"{owner.removeprefix(_STRANGER)} has more requests waiting than are answered within "
                    f"{_MOST_WAIT_S:g} s beside others': send fewer at a time",
                    retry_after_s=_MOST_WAIT_S,
                )
            one.next_s = begins
            self._charge(one, beside_s, now)
            return begins

    def left_s(self, owner: str, begins: float, now: float) -> float:
        """How long it waits still for the turn that was booked."""
        if begins - _AHEAD_S <= now:
            return 0.0
        with self._changing:
            return begins - _AHEAD_S - now if self._seen(owner, now).weight else 0.0

    def charge(self, owner: str, cost_s: float, now: float) -> None:
        """Processor time that was taken for one of its requests."""
        with self._changing:
            if (one := self._owners.get(owner)) is not None:
                self._charge(one, cost_s, now)

    def _charge(self, one: _Owner, cost_s: float, now: float) -> None:
        one.next_s += cost_s * one.weight
        one.use.add(cost_s, now)
        self._use.add(cost_s, now)

    def _seen(self, owner: str, now: float) -> _Owner:
        """The owner, who asks now."""
        for name in [name for name, each in self._owners.items() if now - each.seen_s > _LATELY_S]:
            del self._owners[name]
        one = self._owners.setdefault(owner, _Owner(now))
        one.seen_s = now
        others = sum(not name.startswith(_STRANGER) for name in self._owners.keys() - {owner})
        left = _MOST_USED - (self._use.rate(now) - one.use.rate(now))
        # What the others leave, and an equal share at least; one more is for whoever comes next.
        one.weight = 1 / max(left, 1 / (others + 2)) if others else 0.0
        return one


_shares: Final = Shares()


def charge(owner: str, cost_s: float) -> None:
    """Processor time that was taken for one of this owner's requests."""
    _shares.charge(owner, cost_s, time.monotonic())


async def turn(owner: str, beside_s: float = LOOP_S) -> None:
    """Wait until it is this owner's turn.

    Raises:
        Busy.
    """
    for wait_s in _waits(owner, beside_s):
        await asyncio.sleep(wait_s)


def turn_in_thread(owner: str, beside_s: float = LOOP_S) -> None:
    """As `turn`, for a thread that serves nobody else."""
    for wait_s in _waits(owner, beside_s):
        time.sleep(wait_s)


def _waits(owner: str, beside_s: float) -> Iterator[float]:
    begins = _shares.book(owner, time.monotonic(), beside_s)
    while (left_s := _shares.left_s(owner, begins, time.monotonic())) > 0:
        yield min(left_s, _LOOK_EVERY_S)
