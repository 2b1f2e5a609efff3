"""How many browsers a pool should have: pure decisions.

Utilisation is the share of browsers that are at work, as a moving average. One change at a time, each
followed by a cool-down; the memory of the machine bounds growth.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Limits:
    """Documented defaults, not measurements. Shares are from 0 to 1."""

    least: int = 1
    most: int = 8
    grow_above: float = 0.7
    shrink_below: float = 0.3
    factor: float = 0.2  # weight of the newest sample in the moving average
    cooldown_s: float = 30.0
    memory_share: float = 0.8  # of the machine's memory; nothing grows above it


@dataclasses.dataclass(frozen=True)
class Member:
    """A browser of the pool. `waiting`: shards it holds; `memory_mb` None: not measured."""

    id: str
    kind: str
    waiting: int
    memory_mb: float | None = None


@dataclasses.dataclass(frozen=True)
class Sample:
    """The pool at one moment.

    Attributes:
        at_s: any steady clock.
        busy: share of browsers at work since the last sample; None: nobody could be asked.
        members: the browsers that run, in the order in which they were added.
        kinds: what may be added, in order of preference.
        kept: kinds of which one always stays: requests may name them.
        unsettled: a browser is starting or being drained: no other change meanwhile.
        memory_used_mb, memory_total_mb: of the machine.
    """

    at_s: float
    busy: float | None
    members: Sequence[Member]
    kinds: Sequence[str]
    kept: frozenset[str]
    unsettled: bool
    memory_used_mb: float
    memory_total_mb: float


@dataclasses.dataclass(frozen=True)
class State:
    """What is remembered from sample to sample."""

    average: float | None = None
    changed_at_s: float | None = None


@dataclasses.dataclass(frozen=True)
class Grow:
    kind: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Shrink:
    browser: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Stay:
    """`wants_more`: it would grow, but may not."""

    reason: str
    wants_more: bool = False


Decision = Grow | Shrink | Stay


def decide(state: State, sample: Sample, limits: Limits) -> tuple[State, Decision]:
    """The next state, and what to do now."""
    if sample.busy is None:
        return state, Stay("utilisation is not known")
    before = sample.busy if state.average is None else state.average
    average = before + limits.factor * (sample.busy - before)
    state = dataclasses.replace(state, average=average)
    decision = _decide(state, average, sample, limits)
    if not isinstance(decision, Stay):
        state = dataclasses.replace(state, changed_at_s=sample.at_s)
    return state, decision


def _decide(state: State, average: float, sample: Sample, limits: Limits) -> Decision:
    size = len(sample.members)
    if sample.unsettled:
        return Stay("a change is under way")
    if state.changed_at_s is not None and sample.at_s - state.changed_at_s < limits.cooldown_s:
        return Stay("cooling down")
    if size < limits.least:
        return _grow(f"{size} of at least {limits.least} browsers", sample, limits)
    if average > limits.grow_above and size < limits.most:
        return _grow(f"utilisation {average:.2f} above {limits.grow_above:g}", sample, limits)
    if average < limits.shrink_below and size > limits.least:
        return _shrink(f"utilisation {average:.2f} below {limits.shrink_below:g}", sample)
    return Stay(f"utilisation {average:.2f}")


def _grow(why: str, sample: Sample, limits: Limits) -> Decision:
    if not sample.kinds:
        return Stay(f"{why}, but no kind of browser may be added", wants_more=True)
    kind = _kind_to_add(sample)
    expected_mb = sample.memory_used_mb + _usual_mb(kind, sample.members)
    allowed_mb = limits.memory_share * sample.memory_total_mb
    if expected_mb > allowed_mb:
        return Stay(
            f"{why}, but another {kind} would make it {expected_mb:.0f} MB of memory in use, more than "
            f"{limits.memory_share:.0%} of {sample.memory_total_mb:.0f} MB",
            wants_more=True,
        )
    return Grow(kind, why)


def _kind_to_add(sample: Sample) -> str:
    """Where most waits per browser; else the kind with the fewest; else the preferred one."""
    count = Counter(member.kind for member in sample.members)
    waiting: Counter[str] = Counter()
    for member in sample.members:
        waiting[member.kind] += member.waiting
    order = {kind: position for position, kind in enumerate(sample.kinds)}

    def key(kind: str) -> tuple[float, int, int]:
        per_browser = waiting[kind] / count[kind] if count[kind] else 0.0
        return (-per_browser, count[kind], order[kind])

    return min(sample.kinds, key=key)


def _usual_mb(kind: str, members: Sequence[Member]) -> float:
    """What its like use now; 0 where none was measured: then only what is in use counts."""
    alike = [m.memory_mb for m in members if m.kind == kind and m.memory_mb is not None]
    return sum(alike) / len(alike) if alike else 0.0


def _shrink(why: str, sample: Sample) -> Decision:
    """The newest of the kind with the most, of those that are idle before others."""
    count: Mapping[str, int] = Counter(member.kind for member in sample.members)
    position = {member.id: number for number, member in enumerate(sample.members)}
    spare = [m for m in sample.members if m.kind not in sample.kept or count[m.kind] > 1]
    if not spare:
        return Stay(f"{why}, but one of each listed kind stays")
    leaving = min(spare, key=lambda m: (m.waiting, -count[m.kind], -position[m.id]))
    return Shrink(leaving.id, why)
