"""How many rows at once: what a row costs in batches of different sizes, on one arm.

Batches are compared where nothing else differs: the same file, the same bucket of the other dimensions, the
same load. Where there are several such groups, the one with the most samples decides.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np

from history.core.ranks import median
from history.core.series import MIN_SAMPLES, Arm, Series, Work

_CLOSE: Final = 1.05
_FIRST_DIMENSION: Final = re.compile(r"\[\d+")


@dataclasses.dataclass(frozen=True)
class BatchTimes:
    """A batch size and the median time of a row in it."""

    batch_size: int
    ms_per_row: float
    samples: int


def batch_times(series: Sequence[Series], arm: Arm) -> tuple[BatchTimes, ...]:
    """What a row cost on that arm, by batch size, smallest first; empty where no batch was measured."""
    measured = [
        one
        for one in series
        if one.arm == arm and one.work.batch_size > 0 and one.samples >= MIN_SAMPLES
    ]
    if len(measured) < 2:
        return tuple(_times(one.work.batch_size, [one]) for one in measured)
    groups: dict[Work, list[Series]] = defaultdict(list)
    for one in measured:
        groups[_of_any_batch(one.work)].append(one)
    group = max(groups.values(), key=lambda own: (len(own) > 1, sum(one.samples for one in own)))
    by_size: dict[int, list[Series]] = defaultdict(list)
    for one in group:
        by_size[one.work.batch_size].append(one)
    return tuple(_times(size, own) for size, own in sorted(by_size.items()))


def best_batch(times: Sequence[BatchTimes]) -> int | None:
    """The smallest size within 5 % of the cheapest row; None unless at least two sizes were measured."""
    if len(times) < 2:
        return None
    cheapest = min(one.ms_per_row for one in times)
    return next(one.batch_size for one in times if one.ms_per_row <= cheapest * _CLOSE)


def _times(size: int, own: Sequence[Series]) -> BatchTimes:
    latencies = own[0].latencies_ms
    if len(own) > 1:
        latencies = np.concatenate([one.latencies_ms for one in own])
    return BatchTimes(size, math.exp(median(np.log(latencies))) / size, latencies.size)


def _of_any_batch(work: Work) -> Work:
    return dataclasses.replace(work, batch_size=0, shape=_FIRST_DIMENSION.sub("[", work.shape))
