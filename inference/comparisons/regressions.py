"""What a comparison found worse than the ones before: no longer right, or slower; and that in words.

Each cell is held against what its place was before. Several browsers of a kind have cells of the same place.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from inference.comparisons.earlier import Earlier
from inference.core.comparisons.cells import CellState, Place, PlaceIn, worse
from inference.core.comparisons.slowdowns import Slowdown, Slowdowns, slowdowns
from inference.documents import JsonObject
from inference.models import ComparisonCell

_MACHINE: Final = (
    "Every place takes longer than before: the machine may be what changed, not a browser."
)
_Cells = Mapping[Place, ComparisonCell]


def found(cells: Sequence[ComparisonCell], before: Earlier) -> JsonObject:
    """The document's keys `worse`, `slower`, `slower_everywhere` and `worsened`, which are sentences."""
    now: dict[Place, ComparisonCell] = {_place_in(cell): cell for cell in cells}
    then = {place: one for place, cell in now.items() if (one := before.latest(cell))}
    names = _names(now)
    states = {place: CellState(cell.state) for place, cell in now.items()}
    no_longer_right = worse(states, _known({p: before.state(cell) for p, cell in now.items()}))
    slow = slowdowns(_samples(now), _samples(then))
    return {
        "worse": [_told(place, names) for place in no_longer_right],
        "slower": [_told(one.place, names) | _figures(one) for one in slow.places],
        "slower_everywhere": slow.everywhere,
        "worsened": [
            *(
                f"{names[place]} is {states[place]}, and was right before."
                for place in no_longer_right
            ),
            *_slower_said(slow, names, now, then),
        ],
    }


def _place_in(cell: ComparisonCell) -> PlaceIn:
    return PlaceIn(cell.kind, cell.backend, cell.strategy, cell.browser)


def _names(cells: _Cells) -> dict[Place, str]:
    """By the kind of browser, which lasts; by the browser where several have a cell of the same place."""
    several = Counter(cell.place for cell in cells.values())
    return {
        place: str(place if several[cell.place] > 1 else cell.place)
        for place, cell in cells.items()
    }


def _known(states: Mapping[Place, CellState | None]) -> dict[Place, CellState]:
    return {place: state for place, state in states.items() if state is not None}


def _samples(cells: _Cells) -> dict[Place, Sequence[float]]:
    return {place: cell.samples for place, cell in cells.items()}


def _told(place: Place, names: Mapping[Place, str]) -> JsonObject:
    return {**dataclasses.asdict(place), "name": names[place]}


def _figures(one: Slowdown) -> JsonObject:
    return {name: getattr(one, name) for name in ("ratio", "low", "high", "p_value")}


def _slower_said(
    slow: Slowdowns, names: Mapping[Place, str], now: _Cells, then: _Cells
) -> list[str]:
    told = []
    for one in slow.places:
        version, before = now[one.place].version, then[one.place]
        build = "" if version == before.version else f" (then {before.version}, now {version})"
        told.append(
            f"{one.said(names[one.place])} as on {before.comparison.created_at:%Y-%m-%d %H:%M} UTC{build}."
        )
    return [*told, _MACHINE] if slow.everywhere else told
