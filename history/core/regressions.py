"""When a new build of a browser made the same work slower, and when that is over: pure decisions.

A build is compared with the one before it by Mann–Whitney's U, one-sided; the p-values of all series looked
at together are corrected by Benjamini and Hochberg. A regression opens when the latest build's median is at
least `OPENS_ABOVE` times the other's and the corrected p-value is below `ALPHA`. It closes when a later
build, or the same one with its newest samples, takes at most `CLOSES_BELOW` times the build it was compared
with.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import scipy

from history.core.series import MIN_SAMPLES, Floats

ALPHA: Final = 0.01
OPENS_ABOVE: Final = 1.10
CLOSES_BELOW: Final = 1.05
_RECENT: Final = 500


class Severity(enum.StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclasses.dataclass(frozen=True)
class BuildSeries:
    """Latencies of one arm on one work by build, builds in the order in which they first ran."""

    key: str
    builds: Mapping[str, Floats]


@dataclasses.dataclass(frozen=True)
class Opened:
    """`change_ratio` is median after / median before; `p_value` is corrected."""

    key: str
    from_build: str
    to_build: str
    before_ms: float
    after_ms: float
    change_ratio: float
    p_value: float
    severity: Severity
    sample_size: int


@dataclasses.dataclass(frozen=True)
class Known:
    """A regression that is open now."""

    key: str
    from_build: str
    to_build: str


@dataclasses.dataclass(frozen=True)
class Closed:
    known: Known
    by_build: str
    ratio: float


def severity_of(ratio: float, p_value: float) -> Severity:
    """By size, held back where the evidence is thin."""
    if ratio >= 1.5 and p_value < 0.001:
        return Severity.HIGH
    return Severity.MEDIUM if ratio >= 1.25 else Severity.LOW


def newest(values: Floats) -> Floats:
    """The last quarter of a build's samples, at least five."""
    return values[-max(MIN_SAMPLES, values.size // 4) :]


def opened(series: Sequence[BuildSeries], known: Sequence[Known] = ()) -> list[Opened]:
    """Regressions that open: the latest build of each series against the one before it."""
    there = {(one.key, one.from_build, one.to_build) for one in known}
    pairs = []
    for one in sorted(series, key=lambda s: s.key):
        enough = [(b, v[-_RECENT:]) for b, v in one.builds.items() if v.size >= MIN_SAMPLES]
        if len(enough) > 1:
            (before, old), (after, new) = enough[-2:]
            pairs.append((one.key, before, old, after, new))
    if not pairs:
        return []
    raw = [
        scipy.stats.mannwhitneyu(new, old, alternative="greater").pvalue
        for *_, old, _, new in pairs
    ]
    found = []
    for (key, before, old, after, new), p in zip(
        pairs, scipy.stats.false_discovery_control(raw), strict=True
    ):
        old_ms, new_ms = float(np.median(old)), float(np.median(new))
        ratio, p_value = new_ms / old_ms, float(p)
        if ratio < OPENS_ABOVE or p_value >= ALPHA or (key, before, after) in there:
            continue
        if float(np.median(newest(new))) / old_ms <= CLOSES_BELOW:
            continue  # it was slow and no longer is: opening it would close it at once
        size = old.size + new.size
        found.append(
            Opened(
                key, before, after, old_ms, new_ms, ratio, p_value,
                severity_of(ratio, p_value), size,
            )
        )  # fmt: skip
    return found


def closed(series: Sequence[BuildSeries], known: Sequence[Known]) -> list[Closed]:
    """Open regressions that are over: the latest build with enough samples is not slower any more."""
    by_key = {one.key: one for one in series}
    over = []
    for one in known:
        builds = by_key[one.key].builds if one.key in by_key else {}
        base = builds.get(one.from_build)
        latest = [(b, v) for b, v in builds.items() if v.size >= MIN_SAMPLES]
        if base is None or not base.size or not latest:
            continue
        build, values = latest[-1]
        if build == one.from_build:
            continue
        # The same build must show it with its newest samples, not be excused by those that opened it.
        recent = newest(values) if build == one.to_build else values
        ratio = float(np.median(recent)) / float(np.median(base))
        if ratio <= CLOSES_BELOW:
            over.append(Closed(one, build, ratio))
    return over
