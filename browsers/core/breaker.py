"""A circuit breaker: keep work away from what fails, and try it again with care.

1. Closed: work passes. Three failures in a row open it, a crash at once.
2. Open: no work for a cool-down of 60 s.
3. Half-open, when that is over: one probe at a time. Two right answers close it; a failure opens it again
   for twice as long, up to 300 s. A probe that its owner never ended expires.

A browser repairs itself in seconds and answers the known-answer model right before it takes work again. Such
a repair ends an opening early (it counts as the half-open probes), but only so often: it takes a pardon, of
which there are three, and one more every 30 s. Whoever crashes more often serves the cool-down.

Pure: time is an argument (seconds since the epoch, because several processes share a breaker).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True)
class Policy:
    """`pardons`: openings that a repair may end early; one comes back every `pardon_every_s`."""

    failures_to_open: int = 3
    successes_to_close: int = 2
    cooldown_s: float = 60.0
    longest_cooldown_s: float = 300.0
    probe_s: float = 90.0
    pardons: int = 3
    pardon_every_s: float = 30.0


POLICY: Final = Policy()


@dataclass(frozen=True)
class Breaker:
    """One breaker as it was last written down; `settled` says what time has made of it.

    Attributes:
        failures: in a row, while closed.
        successes: right answers while half-open.
        opened_at, cooldown_s: of the latest opening.
        pardonable: a repair may end this opening.
        probe, probe_until: who probes now, and when that is forgotten.
        pardons_used: of those in the policy, as of `pardons_at`.
    """

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    successes: int = 0
    opened_at: float = 0.0
    cooldown_s: float = 0.0
    pardonable: bool = False
    probe: str = ""
    probe_until: float = 0.0
    pardons_used: float = 0.0
    pardons_at: float = 0.0

    @property
    def half_open_at(self) -> float | None:
        """When the cool-down is over; None unless it is open."""
        return self.opened_at + self.cooldown_s if self.state is BreakerState.OPEN else None

    @property
    def spotless(self) -> bool:
        """A success would change nothing."""
        return self.state is BreakerState.CLOSED and self.failures == 0


def settled(breaker: Breaker, now: float, policy: Policy = POLICY) -> Breaker:
    """The breaker at this moment: cool-downs end, probes expire, pardons come back."""
    regained = max(0.0, now - breaker.pardons_at) / policy.pardon_every_s
    breaker = dataclasses.replace(
        breaker, pardons_used=max(0.0, breaker.pardons_used - regained), pardons_at=now
    )
    if breaker.half_open_at is not None and now >= breaker.half_open_at:
        breaker = dataclasses.replace(breaker, state=BreakerState.HALF_OPEN, successes=0)
    if breaker.probe and now >= breaker.probe_until:
        breaker = dataclasses.replace(breaker, probe="", probe_until=0.0)
    return breaker


def state_at(breaker: Breaker, now: float) -> BreakerState:
    """Its state at this moment; time alone changes an open one only."""
    over = breaker.half_open_at is not None and now >= breaker.half_open_at
    return BreakerState.HALF_OPEN if over else breaker.state


def admits(breaker: Breaker, now: float) -> bool:
    """Whether work may be sent: it is closed, or half-open with nobody probing."""
    if breaker.state is BreakerState.CLOSED:
        return True
    return _waits_for_probe(settled(breaker, now))


def failed(
    breaker: Breaker, now: float, *, crash: bool = False, policy: Policy = POLICY
) -> Breaker:
    """A failure; `crash` opens at once. What comes while it is open is of the past and changes nothing."""
    breaker = settled(breaker, now, policy)
    if breaker.state is BreakerState.OPEN:
        return breaker
    if breaker.state is BreakerState.HALF_OPEN:
        longer = min(2 * breaker.cooldown_s, policy.longest_cooldown_s)
        return _opened(breaker, now, longer, pardonable=False)
    breaker = dataclasses.replace(breaker, failures=breaker.failures + 1)
    if not crash and breaker.failures < policy.failures_to_open:
        return breaker
    pardonable = breaker.pardons_used + 1 <= policy.pardons
    if pardonable:
        breaker = dataclasses.replace(breaker, pardons_used=breaker.pardons_used + 1)
    return _opened(breaker, now, policy.cooldown_s, pardonable=pardonable)


def succeeded(breaker: Breaker, now: float, *, probe: str = "", policy: Policy = POLICY) -> Breaker:
    """A right answer, of the probe by that name or of other work; ends that probe."""
    breaker = settled(breaker, now, policy)
    if breaker.state is BreakerState.OPEN:
        return breaker
    if breaker.state is BreakerState.CLOSED:
        return dataclasses.replace(breaker, failures=0)
    if probe and probe == breaker.probe:
        breaker = dataclasses.replace(breaker, probe="", probe_until=0.0)
    breaker = dataclasses.replace(breaker, successes=breaker.successes + 1)
    return _closed(breaker) if breaker.successes >= policy.successes_to_close else breaker


def repaired(breaker: Breaker, now: float, policy: Policy = POLICY) -> Breaker:
    """The browser was repaired and gave as many known answers as close a breaker.

    Only an opening that has a pardon ends with it.
    """
    breaker = settled(breaker, now, policy)
    if breaker.state is BreakerState.OPEN and not breaker.pardonable:
        return breaker
    return _closed(breaker)


def begin_probe(
    breaker: Breaker, now: float, *, owner: str, policy: Policy = POLICY
) -> Breaker | None:
    """The breaker with `owner` as its probe; None when it is not half-open or another one probes."""
    breaker = settled(breaker, now, policy)
    if not _waits_for_probe(breaker):
        return None
    return dataclasses.replace(breaker, probe=owner, probe_until=now + policy.probe_s)


def _waits_for_probe(breaker: Breaker) -> bool:
    return breaker.state is BreakerState.HALF_OPEN and not breaker.probe


def _opened(breaker: Breaker, now: float, cooldown_s: float, *, pardonable: bool) -> Breaker:
    return dataclasses.replace(
        breaker, state=BreakerState.OPEN, opened_at=now, cooldown_s=cooldown_s,
        pardonable=pardonable, failures=0, successes=0, probe="", probe_until=0.0,
    )  # fmt: skip


def _closed(breaker: Breaker) -> Breaker:
    """Closed; only the pardons that were used are remembered."""
    return Breaker(pardons_used=breaker.pardons_used, pardons_at=breaker.pardons_at)
