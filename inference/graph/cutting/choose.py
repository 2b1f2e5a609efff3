"""Choose among the legal cuts: balanced shards, few bytes crossing. Bounded for graphs of any size.

1. Up to 64 shards: of at most 1,024 candidates the best by dynamic programming. Where more cuts are
   legal, the candidates are the lightest ones of each stretch of equal cost.
2. More shards: the graph is halved at the best cut near the middle of its shards, and each half goes on.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from inference.documents import Array

_CANDIDATES = 1024
_STRETCHES = 512
_SHARDS_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class Cuts:
    """Legal cuts in order.

    Attributes:
        ends: share of the cost that lies before each, 0 to 1, not decreasing.
        penalties: what each adds to the sum of squared imbalances.
    """

    ends: Array
    penalties: Array


def choose(cuts: Cuts, shards: int) -> list[int]:
    """Indices of shards - 1 cuts, ascending; same cuts, same choice.

    The sum over shards of (cost · shards - 1)², plus the penalties, is as small as possible.
    """
    return _between(cuts, 0, len(cuts.ends), 0.0, 1.0, shards, shards)


def _between(
    cuts: Cuts, low: int, high: int, start: float, end: float, shards: int, total: int
) -> list[int]:
    """Cuts out of [low, high) that part the cost from start to end into that many shards of `total`."""
    if shards == 1:
        return []
    if shards - 1 == high - low:
        return list(range(low, high))
    if shards > _SHARDS_AT_ONCE:
        left = shards // 2
        # Enough cuts must remain on both sides.
        first, last = low + left - 1, high - (shards - left - 1)
        ends = cuts.ends[first:last]
        wanted = start + (end - start) * left / shards
        middle = first + int(np.argmin(((ends - wanted) * total) ** 2 + cuts.penalties[first:last]))
        at = float(cuts.ends[middle])
        return [
            *_between(cuts, low, middle, start, at, left, total),
            middle,
            *_between(cuts, middle + 1, high, at, end, shards - left, total),
        ]
    kept = low + _lightest(cuts.ends[low:high], cuts.penalties[low:high])
    best = _best(cuts.ends[kept], cuts.penalties[kept], start, end, shards, total)
    return [int(kept[i]) for i in best]


def _lightest(ends: Array, penalties: Array) -> Array:
    """Indices of at most _CANDIDATES cuts: the lightest of each stretch of equal cost first."""
    if len(ends) <= _CANDIDATES:
        return np.arange(len(ends))
    width = max(float(ends[-1] - ends[0]), 1e-12) / _STRETCHES
    stretch = np.minimum(((ends - ends[0]) / width).astype(np.int64), _STRETCHES - 1)
    order = np.lexsort((np.arange(len(ends)), penalties, stretch))
    firsts = np.searchsorted(stretch[order], stretch[order], side="left")
    rank = np.arange(len(ends)) - firsts  # 0: the lightest of its stretch
    return np.sort(order[np.lexsort((order, rank))[:_CANDIDATES]])


def _best(
    ends: Array, penalties: Array, start: float, end: float, shards: int, total: int
) -> list[int]:
    """Dynamic programming: best[j] is the least cost so far with the latest cut at j."""
    count = len(ends)
    imbalance = ((ends[None, :] - ends[:, None]) * total - 1) ** 2
    imbalance[np.tril_indices(count)] = np.inf
    best = ((ends - start) * total - 1) ** 2 + penalties
    choices: list[Array] = []
    for _ in range(shards - 2):
        step = imbalance + best[:, None]
        choices.append(step.argmin(axis=0))
        best = step.min(axis=0) + penalties
    at = int(np.argmin(best + ((end - ends) * total - 1) ** 2))
    chosen = [at]
    for choice in reversed(choices):
        at = int(choice[at])
        chosen.append(at)
    return chosen[::-1]
