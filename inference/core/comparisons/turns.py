"""Whose turn it is: rounds, in each of which every cell runs once, in a seeded order of the round's own.

So a machine that grows slower while a comparison runs makes all cells slower alike. The first round, which
is not measured, goes in order of the cells: wasm comes before the backends that are proved beside it, which
would load the model for it.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Seat:
    """A cell that has had `turns` runs; one that is not `open` gets no more."""

    index: int
    turns: int
    open: bool


def next_turn(seed: int, seats: Sequence[Seat]) -> int | None:
    """The index of the cell whose run is next; None: all are done."""
    behind = min((seat.turns for seat in seats if seat.open), default=None)
    if behind is None:
        return None
    waiting = {seat.index for seat in seats if seat.open and seat.turns == behind}
    order = sorted(seat.index for seat in seats)
    if behind:
        random.Random(f"{seed}/{behind}").shuffle(order)
    return next(index for index in order if index in waiting)
