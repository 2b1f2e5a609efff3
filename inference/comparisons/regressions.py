"""What a comparison found worse than the ones before: no longer right, or slower; and that in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from inference.comparisons.earlier import Earlier
from inference.core.comparisons.cells import CellState, Place, worse
from inference.core.comparisons.slowdowns import Slowdown, Slowdowns, slowdowns
from inference.documents import JsonObject
from inference.models import ComparisonCell

_MACHINE: Final = (
    "Every place takes longer than before: the machine may be what changed, not a browser."
)


def found(cells: Sequence[ComparisonCell], before: Earlier) -> JsonObject:
    """The document's keys `worse`, `slower`, `slower_everywhere` and `worsened`, which are sentences."""
    now = {cell.place: cell for cell in cells}
    states = {place: CellState(cell.state) for place, cell in now.items()}
    no_longer_right = worse(states, before.states(list(now)))
    slow = _slow(now, before)
    return {
        "worse": [_told(place) for place in no_longer_right],
        "slower": [_told(one.place) | _figures(one) for one in slow.places],
        "slower_everywhere": slow.everywhere,
        "worsened": [
            *(f"{place} is {states[place]}, and was right before." for place in no_longer_right),
            *_slower_said(slow, now, before),
        ],
    }


def _slow(now: dict[Place, ComparisonCell], before: Earlier) -> Slowdowns:
    then = {place: cell for place in now if (cell := before.latest(place))}
    return slowdowns(
        {place: cell.samples for place, cell in now.items()},
        {place: cell.samples for place, cell in then.items()},
    )


def _told(place: Place) -> JsonObject:
    return {**dataclasses.asdict(place), "name": str(place)}


def _figures(one: Slowdown) -> JsonObject:
    return {name: getattr(one, name) for name in ("ratio", "low", "high", "p_value")}


def _slower_said(slow: Slowdowns, now: dict[Place, ComparisonCell], before: Earlier) -> list[str]:
    told = []
    for one in slow.places:
        cell, then = now[one.place], before.latest(one.place)
        assert then is not None
        build = (
            "" if cell.version == then.version else f" (then {then.version}, now {cell.version})"
        )
        told.append(f"{one.said()} as on {then.comparison.created_at:%Y-%m-%d %H:%M} UTC{build}.")
    return [*told, _MACHINE] if slow.everywhere else told
