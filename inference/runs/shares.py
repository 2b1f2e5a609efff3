"""Whose requests this process works for when: of several who ask, none takes more than a share of it.

A process computes one thing at a time (Python's lock), so that a caller who sends without a pause over a
dozen connections would have everybody else wait for its requests. Each owner's requests are therefore spaced,
by what they took of the processor so far, as soon as somebody else asked lately (a leaky bucket, GCRA): to
what the others leave of a third of the time, an equal share at least. Whoever is alone is never held up. What
waits holds no thread of `serving.py`, and its body was not read yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import threading
import time
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from inference.errors import Busy

_STRANGER: Final = "\0"  # no name of a key or a person begins with it
_LATELY_S: Final = 5.0
_AHEAD_S: Final = 0.02
"""A few requests at once are let in as they come: a page's."""
_MOST_USED: Final = 1 / 3
"""Of the process's time, beside others: whoever comes finds it resting two times of three."""
_MOST_WAIT_S: Final = 10.0
_MOST_OWED_S: Final = 3.0
"""What one request took holds up its owner's next ones no longer, an upload's for one."""
_REFUSED_AFTER_S: Final = 1.0
"""So that whoever does not wait as told is not answered at once either."""
_LOOK_EVERY_S: Final = 0.25
_FORGET_EVERY_S: Final = 0.5
# What a request is taken to cost beside what is measured of it and charged: weights, which nobody is shown.
LOOP_S: Final = 0.0015
"""Of the event loop, and to look its sender up."""
DJANGO_S: Final = 0.0045
"""The same where Django answers it."""
PAGE_S: Final = 0.01
"""A page of the admin, of which nothing is measured."""


def stranger(address: str) -> str:
    """The owner of what comes from there and is nobody's; strangers hold up one another alone.

    An IPv6 address counts by its /64: whoever has one has all of them.
    """
    with contextlib.suppress(ValueError):
        if isinstance(known := ip_address(address), IPv6Address) and known.ipv4_mapped is None:
            address = str(ip_network((known, 64), strict=False))
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
        self._named: dict[str, _Owner] = {}
        self._strangers: dict[str, _Owner] = {}
        self._use = _Use()  # of those with a name
        self._forget_at = 0.0

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
            one.next_s = begins + beside_s * one.weight
            self._count(owner, one, beside_s, now)
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
            one = self._seen(owner, now)
            one.next_s += min(cost_s * one.weight, _MOST_OWED_S)
            self._count(owner, one, cost_s, now)

    def _count(self, owner: str, one: _Owner, cost_s: float, now: float) -> None:
        one.use.add(cost_s, now)
        if owner in self._named:
            self._use.add(cost_s, now)

    def _seen(self, owner: str, now: float) -> _Owner:
        """The owner, who asks or is answered now."""
        self._forget(now)
        known = self._strangers if owner.startswith(_STRANGER) else self._named
        one = known.setdefault(owner, _Owner(now))
        one.seen_s = now
        others = len(self._named) - (owner in self._named)
        used = self._use.rate(now) - (one.use.rate(now) if known is self._named else 0.0)
        # What the others leave, and an equal share at least; one more is for whoever comes next.
        share = max(_MOST_USED - used, 1 / (others + 2))
        among = 1 if known is self._named else len(self._strangers)
        one.weight = among / share if others else 0.0
        return one

    def _forget(self, now: float) -> None:
        if now < self._forget_at:
            return
        self._forget_at = now + _FORGET_EVERY_S
        for known in (self._named, self._strangers):
            for name in [name for name, each in known.items() if now - each.seen_s > _LATELY_S]:
                del known[name]


_shares: Final = Shares()


def charge(owner: str, cost_s: float) -> None:
    """Processor time that was taken for one of this owner's requests; "" for nobody that is known yet."""
    if owner:
        _shares.charge(owner, cost_s, time.monotonic())


async def turn(owner: str, beside_s: float = LOOP_S) -> None:
    """Wait until it is this owner's turn.

    Raises:
        Busy.
    """
    try:
        begins = _shares.book(owner, time.monotonic(), beside_s)
    except Busy:
        await asyncio.sleep(_REFUSED_AFTER_S)
        raise
    while (left_s := _shares.left_s(owner, begins, time.monotonic())) > 0:
        await asyncio.sleep(min(left_s, _LOOK_EVERY_S))
