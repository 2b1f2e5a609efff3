"""What a cell of a comparison is and becomes, and which cells are worse than before."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from browsers.core.failures import Category, Retry


class CellState(enum.StrEnum):
    WAITING = "waiting"
    MEASURING = "measuring"
    MEASURED = "measured"
    """Every answer was within the tolerance."""
    WRONG = "wrong"
    FAILED = "failed"
    UNTRIED = "untried"
    """Nobody here can run it; the reason says why."""
    NOT_JUDGED = "not judged"
    """Measured, and there is nothing to hold its answers against."""


OPEN: Final = frozenset({CellState.WAITING, CellState.MEASURING})
BAD: Final = frozenset({CellState.WRONG, CellState.FAILED})
# What was lost with the store or taken away by a person says nothing of the cell.
_NOT_ITS_FAULT: Final = frozenset({Category.TENSOR_LOST, Category.EXPIRED, Category.CANCELLED})
_NOBODY_CAN: Final = frozenset({Category.NO_BROWSER, Category.BROWSER_CAPABILITY})
_MOST_MISSES: Final = 3
_AS_IT_IS: Final = frozenset({"none", "component"})


def tried_again(category: Category, misses: int) -> bool:
    """Whether a cell has another turn after a failed run, its `misses`-th in a row."""
    if category in _NOT_ITS_FAULT:
        return misses <= _MOST_MISSES
    return category.retry in (Retry.HERE, Retry.ELSEWHERE) and misses <= 1


def after_failures(category: Category, *, turns: int, proved_wrong: bool) -> CellState:
    """What a cell is whose run failed for good.

    Args:
        turns: how many of its runs succeeded.
        proved_wrong: a trial of the backend has shown that it answers the file wrongly.
    """
    if proved_wrong:
        return CellState.WRONG
    return CellState.UNTRIED if category in _NOBODY_CAN and not turns else CellState.FAILED


def measured(*, wrong: str, judged: bool) -> CellState:
    """What a cell is once it has all its runs; `wrong`: how an answer was, empty: none was."""
    if not judged:
        return CellState.NOT_JUDGED
    return CellState.WRONG if wrong else CellState.MEASURED


def most_turns(runs: int) -> int:
    """After so many successful runs a cell without enough warm ones is given up."""
    return 2 * runs + 5


@dataclasses.dataclass(frozen=True)
class Place:
    """What a cell is found again by in another comparison of the model."""

    kind: str
    backend: str
    strategy: str

    def __str__(self) -> str:
        return label(self.kind, self.backend, strategy=self.strategy)


@dataclasses.dataclass(frozen=True)
class PlaceIn(Place):
    """A place in one of the browsers of its kind, each of which may have a cell of it."""

    browser: str

    def __str__(self) -> str:
        return label(self.browser, self.backend, strategy=self.strategy)


def label(*words: str, strategy: str) -> str:
    """For people: `firefox wasm`, and `firefox wasm layer:2` where the model is cut."""
    return " ".join(words if strategy in _AS_IT_IS else (*words, strategy))


def worse(now: Mapping[Place, CellState], before: Mapping[Place, CellState]) -> list[Place]:
    """Places, or their cells, that are wrong or failed now and were right before."""
    return sorted(
        (
            place
            for place, state in now.items()
            if state in BAD and before.get(place) == CellState.MEASURED
        ),
        key=dataclasses.astuple,
    )


def failing(states: Iterable[CellState], fail_on: Collection[CellState]) -> bool:
    """Whether any cell is in a state that the caller wants to hear of."""
    return any(state in fail_on for state in states)
