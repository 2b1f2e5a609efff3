"""What a worker process is given at once: the tests of a file, or of all files that share the pool."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

UNKNOWN_S = 1.0
"""A test of a file that the table of durations does not have."""


@dataclass(frozen=True)
class Place:
    """Where a test is run: the unit it belongs to, and whether nothing else may run meanwhile."""

    unit: str
    alone: bool


@dataclass(frozen=True)
class Unit:
    """Tests that one worker runs one after another, and how many seconds they should take."""

    name: str
    tests: tuple[str, ...]
    seconds: float
    alone: bool


@dataclass(frozen=True)
class Measured:
    """What a file's tests took together, and how many they were."""

    tests: int
    seconds: float


def file_of(test: str) -> str:
    """`tests/django/test_auth.py::test_a[b]` → `tests/django/test_auth.py`."""
    return test.partition("::")[0]


def expected_s(test: str, durations: Mapping[str, Measured]) -> float:
    """A test's share of what its file took."""
    measured = durations.get(file_of(test))
    return measured.seconds / max(1, measured.tests) if measured else UNKNOWN_S


def total_s(tests: Iterable[str], durations: Mapping[str, Measured]) -> float:
    return sum(expected_s(test, durations) for test in tests)


def arrange(
    tests: Sequence[str], places: Mapping[str, Place], durations: Mapping[str, Measured]
) -> list[Unit]:
    """The units of these tests, longest first: what is short fills the gaps at the end."""
    members: dict[Place, list[str]] = {}
    for test in tests:
        members.setdefault(places[test], []).append(test)
    units = [
        Unit(place.unit, tuple(of_unit), total_s(of_unit, durations), place.alone)
        for place, of_unit in members.items()
    ]
    return sorted(units, key=lambda unit: -unit.seconds)


def left_s(busy: Sequence[float], waiting: Iterable[float]) -> float:
    """Seconds until the last worker ends, when each takes the next unit as soon as it is free.

    `busy` says for each worker how many seconds of work it has already.
    """
    ends = list(busy)
    heapq.heapify(ends)
    for seconds in waiting:
        if ends:
            heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends, default=0.0)


def measured(seconds_of: Mapping[str, float]) -> dict[str, Measured]:
    """The table of durations from what each test took."""
    seconds: Counter[str] = Counter()
    for test, took in seconds_of.items():
        seconds[file_of(test)] += took  # type: ignore[assignment]
    tests = Counter(file_of(test) for test in seconds_of)
    return {name: Measured(tests[name], round(took, 1)) for name, took in seconds.items()}
