"""Which steps of the sessions in one browser are asked of its page together.

One way to the page and back, and one to the store, then serves several sessions. Steps of one position are
short; one of a prompt is long, and everybody waits for it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

MOST: Final = 16
ROUND_S: Final = 0.25
"""An ordinary shard of the browser waits for a whole round, and so does who listens to a token of it: steps
that take long come a few at a time."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Waiting(Generic[Item]):
    """A step that can be computed.

    `count` of its positions that are not drafted; `since`: when its stage computed last. `run`: steps that
    name the same one may be computed in one run of their model, which takes `takes_s`, 0 where nobody knows.
    `follows`: it is a standby's, for which nobody waits.
    """

    item: Item
    count: int
    since: float
    run: Hashable | None = None
    takes_s: float = 0.0
    follows: bool = False


def rounds(waiting: Sequence[Waiting[Item]], *, held: int, stages: int) -> list[list[Item]]:
    """Who has waited longest comes first, standbys last.

    Each round's outcome is passed on before the next is asked for.

    1. Steps of one position, together: at most a share of the sessions `held` here, so that while one browser
       computes some of those that go through `stages` browsers, the next one has the others. And no more runs
       of models than fit into `ROUND_S`, but one.
    2. One step of a prompt.
    """
    ordered = sorted(waiting, key=lambda each: (each.follows, each.since))
    most = min(MOST, max(1, -(-held // stages)))
    singles = _in_time(each for each in ordered if each.count == 1)[:most]
    prompts = [each.item for each in ordered if each.count > 1][:1]
    return [each for each in (singles, prompts) if each]


def _in_time(waiting: Iterable[Waiting[Item]]) -> list[Item]:
    """Those whose runs take no longer than a round may, the first one in any case."""
    taken: list[Item] = []
    begun: set[Hashable] = set()
    spent_s = 0.0
    for each in waiting:
        if each.run is None or each.run not in begun:
            if taken and spent_s + each.takes_s > ROUND_S:
                continue
            spent_s += each.takes_s
            if each.run is not None:
                begun.add(each.run)
        taken.append(each.item)
    return taken
