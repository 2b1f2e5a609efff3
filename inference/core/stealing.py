"""Whether a step that waits long for one browser is given to another that has nothing to do.

Times are in ms. What is not known is None: nothing is made up for it.
"""

from __future__ import annotations

from collections.abc import Iterable


def left_of(expected_ms: float | None, elapsed_ms: float) -> float | None:
    """What a computation still takes; None: nobody knows, or it takes longer than it was expected to."""
    if expected_ms is None or elapsed_ms > expected_ms:
        return None
    return expected_ms - elapsed_ms


def total(parts: Iterable[float | None]) -> float | None:
    """All of them, one after the other; None where one of them is not known."""
    sum_ms = 0.0
    for part_ms in parts:
        if part_ms is None:
            return None
        sum_ms += part_ms
    return sum_ms


def worth_moving(
    there_ms: float, *, here_ms: float | None, waited_ms: float, left_ms: float
) -> bool:
    """Whether the step is done sooner there, and in time.

    Args:
        there_ms: until it is done there, with loading its file.
        here_ms: until it is done where it waits; None: not known. Then it is taken to go on for as long as
            it did already, so that a move costs at most what waiting has cost.
        waited_ms: how long it has waited.
        left_ms: until its run's deadline.
    """
    return there_ms < min(waited_ms if here_ms is None else here_ms, left_ms)
