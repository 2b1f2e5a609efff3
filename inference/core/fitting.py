"""Which stretch of a model goes into which browser, so that nobody's memory is exceeded.

Nodes are in an order that may be cut at legal boundaries; each browser takes one stretch. A stretch weighs
what its nodes carry; a weight that several of them carry counts once in it, and again in another stretch.

1. Browsers are filled one after the other, largest first, each as far as it goes. Where that does not reach
   the end, every order of the largest `_EXACT` is tried. Both reach further the more memory there is, so more
   of it never makes a model unplannable.
2. Of what fits, the plan is taken in which the fullest browser is the least full.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Mapping, Sequence

_EXACT = 10
_LEVELS = 64  # in how many steps a browser's fullness is told apart


@dataclasses.dataclass(frozen=True)
class Room:
    """A browser and how many bytes of weights it has room for."""

    browser: str
    bytes: int


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Ordered nodes `start` to `end` (excluded), for one browser."""

    browser: str
    start: int
    end: int
    bytes: int


class DoesNotFit(ValueError):
    """No browsers of these sizes hold the model.

    Attributes:
        needed: bytes of the whole model; `room`: of all browsers together.
        largest: of the largest part that cannot be cut; `largest_room`: of the largest browser.
    """

    def __init__(self, *, needed: int, room: int, largest: int, largest_room: int) -> None:
        self.needed, self.room = needed, room
        self.largest, self.largest_room = largest, largest_room
        super().__init__(f"{needed} bytes of weights do not fit into {room}")

    @property
    def missing(self) -> int:
        """So many bytes more are needed at the least; 0: only the way they are divided is to blame."""
        return max(self.needed - self.room, self.largest - self.largest_room, 0)


class Carried:
    """What the nodes of an order carry, and where it may be cut.

    `weights`: for each node, in order, name → bytes. `legal`: boundaries, numbered by the nodes before them.
    """

    def __init__(self, weights: Sequence[Mapping[str, int]], legal: Sequence[int]) -> None:
        self.nodes = len(weights)
        self.ends = sorted({*legal, self.nodes} - {0})
        users: dict[str, list[int]] = {}
        sizes: dict[str, int] = {}
        for at, carried in enumerate(weights):
            for name, size in carried.items():
                users.setdefault(name, []).append(at)
                sizes[name] = size
        own = [0] * self.nodes
        for name, places in users.items():
            if len(places) == 1:
                own[places[0]] += sizes[name]
        self._before = [0, *itertools.accumulate(own)]
        self._shared = [(users[name], sizes[name]) for name in users if len(users[name]) > 1]
        self._reached: dict[tuple[int, int], int] = {}

    def between(self, start: int, end: int) -> int:
        """Bytes that a stretch carries."""
        shared = sum(size for places, size in self._shared if _within(places, start, end))
        return self._before[end] - self._before[start] + shared

    def reach(self, start: int, room: int) -> int:
        """The last end of a stretch from `start` that fits into so many bytes; `start` where none does."""
        known = self._reached.get((start, room))
        if known is None:
            first = bisect.bisect_right(self.ends, start)
            fitting = bisect.bisect_right(
                self.ends, room, lo=first, key=lambda end: self.between(start, end)
            )
            known = self.ends[fitting - 1] if fitting > first else start
            self._reached[start, room] = known
        return known

    def largest_part(self) -> int:
        """Bytes of the heaviest stretch between two neighbouring boundaries."""
        return max(self.between(a, b) for a, b in itertools.pairwise([0, *self.ends]))


def _within(places: Sequence[int], start: int, end: int) -> bool:
    at = bisect.bisect_left(places, start)
    return at < len(places) and places[at] < end


def fit(carried: Carried, rooms: Sequence[Room]) -> list[Stretch]:
    """A stretch for each browser that is needed, in the order of the nodes; same input, same stretches.

    Raises:
        DoesNotFit: says what is needed and what there is.
    """
    sizes = sorted(rooms, key=lambda room: (-room.bytes, len(room.browser), room.browser))
    if not _try(carried, sizes, _LEVELS):
        raise DoesNotFit(
            needed=carried.between(0, carried.nodes),
            room=sum(room.bytes for room in sizes),
            largest=carried.largest_part(),
            largest_room=max((room.bytes for room in sizes), default=0),
        )
    level = bisect.bisect_left(
        range(1, _LEVELS + 1), True, key=lambda level: bool(_try(carried, sizes, level))
    )
    return _try(carried, sizes, level + 1)


def _try(carried: Carried, sizes: Sequence[Room], level: int) -> list[Stretch]:
    """Stretches with each browser filled to at most level / _LEVELS; empty when it does not go."""
    filled = [Room(room.browser, room.bytes * level // _LEVELS) for room in sizes]
    return _one_by_one(carried, filled) or _any_order(carried, filled[:_EXACT])


def _one_by_one(carried: Carried, rooms: Sequence[Room]) -> list[Stretch]:
    at, stretches = 0, []
    for room in rooms:
        end = carried.reach(at, room.bytes)
        if end > at:
            stretches.append(Stretch(room.browser, at, end, carried.between(at, end)))
        at = end
    return stretches if at == carried.nodes else []


def _any_order(carried: Carried, rooms: Sequence[Room]) -> list[Stretch]:
    """By how far each set of browsers reaches in its best order."""
    reached = [0] * (1 << len(rooms))
    last = [0] * len(reached)
    for chosen in range(1, len(reached)):
        for at, room in enumerate(rooms):
            if chosen & 1 << at:
                end = carried.reach(reached[chosen ^ 1 << at], room.bytes)
                if end > reached[chosen]:
                    reached[chosen], last[chosen] = end, at
        if reached[chosen] == carried.nodes:
            return _traced(carried, rooms, reached, last, chosen)
    return []


def _traced(
    carried: Carried,
    rooms: Sequence[Room],
    reached: Sequence[int],
    last: Sequence[int],
    chosen: int,
) -> list[Stretch]:
    stretches = []
    while chosen:
        end, room = reached[chosen], rooms[last[chosen]]
        chosen ^= 1 << last[chosen]
        start = reached[chosen]
        if end > start:
            stretches.append(Stretch(room.browser, start, end, carried.between(start, end)))
    return stretches[::-1]
