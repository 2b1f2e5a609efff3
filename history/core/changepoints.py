"""Where series changed their level: Pettitt's rank test, splitting again on both sides.

1. In a segment of n values with ranks R, U(t) = 2·ΣR(1…t) − t·(n + 1); K = max |U|. The probability of such a
   K without a change is about min(1, 2·exp(−6K² / (n³ + n²))) (Pettitt 1979). It is the largest of all
   Mann–Whitney statistics over places to split, so neither outliers nor the unit matter.
2. A level that comes and goes is hidden from a test of the whole: a segment is tested as a whole and in
   overlapping parts of a half, a quarter … of its length (the intervals of seeded binary segmentation, Kovács
   et al. 2023), and its p-value is the smallest, times the number of tests.
3. All segments of all series are tested together, level by level; Benjamini and Hochberg's procedure at
   `FALSE_DISCOVERY_RATE` says which are split where that |U| is largest, and their halves are the next level
   (the hierarchical scheme of Yekutieli 2008). A side has at least `MIN_SEGMENT` values.
4. Neighbours in time are alike: a segment's statistic is held against the number of values it is worth
   (`evidence.effective_size` of what is left after the split).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
import scipy

from history.core.evidence import effective_size
from history.core.series import MIN_SAMPLES, Floats, check_positive

FALSE_DISCOVERY_RATE: Final = 0.05
MIN_SEGMENT: Final = MIN_SAMPLES
SHORTEST_PART: Final = 4 * MIN_SAMPLES
_LATEST: Final = 5000


@dataclasses.dataclass(frozen=True)
class ChangePoint:
    """`index` is the first value of the new level; `ratio` its median over the median before."""

    index: int
    ratio: float
    p_value: float


@dataclasses.dataclass(frozen=True)
class _Segment:
    series: int
    start: int
    end: int
    split: int
    p_value: float


def change_points(values: Floats) -> list[ChangePoint]:
    """Changes of level of one series, in order of time; of a longer one than 5000, of its latest values."""
    return change_points_of([values])[0]


def change_points_of(series: Sequence[Floats]) -> list[list[ChangePoint]]:
    """The same for many series, false discoveries counted over all of them; values above zero."""
    for values in series:
        check_positive("values", values)
    skipped = [max(0, values.size - _LATEST) for values in series]
    logs = [np.log(values[skip:]) for values, skip in zip(series, skipped, strict=True)]
    kept: list[list[tuple[int, float]]] = [[] for _ in logs]
    level = [_test(logs[i], i, 0, logs[i].size) for i in range(len(logs))]
    while tested := [segment for segment in level if segment is not None]:
        adjusted = scipy.stats.false_discovery_control([segment.p_value for segment in tested])
        level = []
        for one, p_value in zip(tested, adjusted, strict=True):
            if p_value <= FALSE_DISCOVERY_RATE:
                kept[one.series].append((one.split, float(p_value)))
                level.append(_test(logs[one.series], one.series, one.start, one.split))
                level.append(_test(logs[one.series], one.series, one.split, one.end))
    return [
        _described(values, skip, sorted(found))
        for values, skip, found in zip(logs, skipped, kept, strict=True)
    ]


def _test(logs: Floats, series: int, start: int, end: int) -> _Segment | None:
    """The surest split within logs[start:end]; None where that is too short for any."""
    found = [_pettitt(logs, *part) for part in _seeded(start, end)]
    if not found:
        return None
    p_value, split = min(found)
    return _Segment(series, start, end, split, min(1.0, p_value * len(found)))


def _seeded(start: int, end: int) -> list[tuple[int, int]]:
    """The segment and parts of a half, a quarter … of it, each overlapping the next by half."""
    n = end - start
    if n < 2 * MIN_SEGMENT:
        return []
    parts, length = [(start, end)], n // 2
    while length >= SHORTEST_PART:
        starts = np.unique(np.linspace(start, end - length, 2 * (n // length) - 1).astype(int))
        parts += [(int(at), int(at) + length) for at in starts]
        length //= 2
    return parts


def _pettitt(logs: Floats, start: int, end: int) -> tuple[float, int]:
    """Pettitt's p-value of logs[start:end], and where it would be split."""
    segment, n = logs[start:end], end - start
    ranks = scipy.stats.rankdata(segment)
    t = np.arange(1, n)
    u = np.abs(2.0 * np.cumsum(ranks)[:-1] - t * (n + 1))
    at = int(np.argmax(u[MIN_SEGMENT - 1 : n - MIN_SEGMENT])) + MIN_SEGMENT
    exponent = -6.0 * u[at - 1] ** 2 / (n**3 + n**2)
    p_value = min(1.0, 2.0 * float(np.exp(exponent)))
    if p_value < FALSE_DISCOVERY_RATE:  # else nothing is found here whatever the samples are worth
        rest = np.concatenate([part - np.median(part) for part in (segment[:at], segment[at:])])
        p_value = min(1.0, 2.0 * float(np.exp(exponent * effective_size(rest) / n)))
    return p_value, start + at


def _described(logs: Floats, skipped: int, found: Sequence[tuple[int, float]]) -> list[ChangePoint]:
    edges = [0, *(at for at, _ in found), logs.size]
    return [
        ChangePoint(
            index=skipped + at,
            ratio=float(np.exp(np.median(logs[at:after]) - np.median(logs[before:at]))),
            p_value=p_value,
        )
        for before, (at, p_value), after in zip(edges, found, edges[2:], strict=False)
    ]
