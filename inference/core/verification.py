"""Whether an answer is doubted, and which of several counts: pure."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from inference.documents import Array

_MOST_ANSWERS: Final = 3


def suspicion(answer: Array) -> str:
    """What is odd about an output; empty: nothing. Only floats are odd: zeros of integers are an answer."""
    if answer.dtype.kind != "f" or answer.size == 0:
        return ""
    if not np.isfinite(answer).all():
        return "not finite"
    return "" if answer.any() else "all zero"


class Next(enum.Enum):
    ACCEPT = enum.auto()
    ASK = enum.auto()  # one more browser
    FAIL = enum.auto()


@dataclass(frozen=True)
class Verdict:
    """What becomes of the latest answer; `wrong`: positions of the earlier ones that were wrong."""

    next: Next
    wrong: tuple[int, ...] = ()


def judge(
    agrees: Sequence[bool], *, odd: bool, asked_as_odd: bool, overrules: bool = True
) -> Verdict:
    """The latest answer beside the earlier ones.

    Args:
        agrees: for each earlier answer whether the latest agrees with it.
        odd: whether the latest is odd itself.
        asked_as_odd: whether it was asked for because the earlier ones were.
        overrules: whether its backend is as good as theirs: what is odd on wasm may be right, and finite
            elsewhere.
    """
    wrong = tuple(at for at, same in enumerate(agrees) if not same)
    if any(agrees) or (asked_as_odd and not odd and overrules):
        return Verdict(Next.ACCEPT, wrong)
    if len(agrees) + 1 >= _MOST_ANSWERS:
        return Verdict(Next.FAIL)
    return Verdict(Next.ASK)
