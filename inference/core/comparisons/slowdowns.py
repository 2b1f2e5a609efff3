"""Which places take longer than in an earlier comparison.

Each place's runs are tested against its own of before (Mann–Whitney, corrected by Holm over the places). Days
lie between, and the machine changes, too. So a difference alone is not told: the whole interval of the ratio
lies above `LEAST_RATIO`; and where every place became slower, it is the machine before it is a browser.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

from inference.core.comparisons.cells import Place
from inference.core.comparisons.differences import SIGNIFICANT, differences, holm, times_as_long

LEAST_RATIO: Final = 1.1
_NOW, _BEFORE = "now", "before"


@dataclasses.dataclass(frozen=True)
class Slowdown:
    """How many times as long a place takes, with its interval."""

    place: Place
    ratio: float
    low: float
    high: float
    p_value: float

    def said(self, name: str) -> str:
        """`name`: how its place is called."""
        return f"{name} takes {times_as_long(self.low, self.high)} times as long"


@dataclasses.dataclass(frozen=True)
class Slowdowns:
    """`everywhere`: every place that could be tested became slower, and they are several."""

    places: tuple[Slowdown, ...]
    everywhere: bool


def slowdowns(
    now: Mapping[Place, Sequence[float]], before: Mapping[Place, Sequence[float]]
) -> Slowdowns:
    """Of the places with enough runs in both."""
    tested = {}
    for place in sorted(now.keys() & before.keys(), key=dataclasses.astuple):
        for one in differences({_NOW: now[place], _BEFORE: before[place]}):
            tested[place] = one
    corrected = holm([one.p_value for one in tested.values()])
    found = tuple(
        Slowdown(place, one.ratio, one.low, one.high, p_value)
        for (place, one), p_value in zip(tested.items(), corrected, strict=True)
        if one.slower == _NOW and p_value < SIGNIFICANT
        if one.ratio and one.high and one.low and one.low >= LEAST_RATIO
    )
    return Slowdowns(found, everywhere=len(found) == len(tested) > 1)
