"""Which steps of the sessions in one browser are asked of its page together.

One way to the page and back, and one to the store, then serves several sessions. Steps of one position are
short; one of a prompt is long, and everybody waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

MOST: Final = 16
"""An ordinary shard of the browser waits for a whole round, and so does who listens to a token of it."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Waiting(Generic[Item]):
    """A step that can be computed.

    `count` of its positions that are not drafted; `since`: when its stage computed last.
    """

    item: Item
    count: int
    since: float


def rounds(waiting: Sequence[Waiting[Item]], *, held: int, stages: int) -> list[list[Item]]:
    """Who has waited longest comes first; each round's outcome is passed on before the next is asked for.

    1. Steps of one position, together: at most a share of the sessions `held` here, so that while one browser
       computes some of those that go through `stages` browsers, the next one has the others.
    2. One step of a prompt.
    """
    ordered = sorted(waiting, key=lambda each: each.since)
    most = min(MOST, max(1, -(-held // stages)))
    singles = [each.item for each in ordered if each.count == 1][:most]
    prompts = [each.item for each in ordered if each.count > 1][:1]
    return [each for each in (singles, prompts) if each]
