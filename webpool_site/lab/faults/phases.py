"""What an attempt was doing when a strike came: pure, from time stamps of the ledger.

An attempt that succeeded has measured lengths of its own. One that was cut short has none: it is compared
with what is usual for that file, loading included when the browser had computed nothing of it since it
was last struck.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from webpool_site.lab.faults.chaos import Strike


class Phase(StrEnum):
    LOADING = "loading"
    TRANSFER = "transfer"
    COMPUTING = "computing"
    RECORDING = "recording"
    """the result is stored and written down; also the claim and what the worker does around the rest"""
    LATE = "late"
    """cut short, but after longer than such an attempt usually takes: nobody knows what it did"""
    IDLE = "idle"
    """nothing was being computed there"""


@dataclass(frozen=True)
class Lengths:
    """How long parts of an attempt took, in ms."""

    load: float
    transfer: float
    compute: float


@dataclass(frozen=True)
class Worked:
    """An attempt: where and when (Unix time), and its lengths if it succeeded."""

    browser: str
    sha256: str
    began: float
    ended: float
    lengths: Lengths | None


def phase_at(elapsed_ms: float, lengths: Lengths) -> Phase:
    """In the order in which the page works: load, inputs in, compute, outputs out; then the record."""
    half = lengths.transfer / 2
    for phase, length in (
        (Phase.LOADING, lengths.load),
        (Phase.TRANSFER, half),
        (Phase.COMPUTING, lengths.compute),
        (Phase.TRANSFER, half),
    ):
        if elapsed_ms < length:
            return phase
        elapsed_ms -= length
    return Phase.RECORDING


def covered(strikes: Sequence[Strike], attempts: Iterable[Worked]) -> dict[str, dict[str, int]]:
    """For each kind of target: how many attempts were struck in which phase.

    A strike on a part of a browser concerns the attempt of that browser; one on a service, all that were
    under way.
    """
    by_browser: dict[str, list[Worked]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda one: one.began):
        by_browser[attempt.browser].append(attempt)
    usual = _usual(attempt for some in by_browser.values() for attempt in some)
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for strike in strikes:
        browsers = [strike.browser] if strike.browser else list(by_browser)
        struck = [
            _phase(strike, attempt, by_browser[browser], strikes, usual)
            for browser in browsers
            for attempt in by_browser.get(browser, ())
            if attempt.began <= strike.at <= attempt.ended
        ]
        counted[strike.target].update(phase.value for phase in struck or [Phase.IDLE])
    return {target: dict(phases) for target, phases in sorted(counted.items())}


def _usual(attempts: Iterable[Worked]) -> dict[str, Lengths]:
    """Medians per file; of loads, only of those that loaded."""
    seen: dict[str, list[Lengths]] = defaultdict(list)
    for attempt in attempts:
        if attempt.lengths is not None:
            seen[attempt.sha256].append(attempt.lengths)
    return {
        sha256: Lengths(
            statistics.median([one.load for one in some if one.load] or [0.0]),
            statistics.median(one.transfer for one in some),
            statistics.median(one.compute for one in some),
        )
        for sha256, some in seen.items()
    }


def _phase(
    strike: Strike,
    attempt: Worked,
    of_browser: Sequence[Worked],
    strikes: Sequence[Strike],
    usual: Mapping[str, Lengths],
) -> Phase:
    elapsed_ms = (strike.at - attempt.began) * 1000
    if attempt.lengths is not None:
        return phase_at(elapsed_ms, attempt.lengths)
    lengths = usual.get(attempt.sha256)
    if lengths is None:
        return Phase.LATE
    if _is_warm(attempt, of_browser, strikes):
        lengths = Lengths(0.0, lengths.transfer, lengths.compute)
    whole = lengths.load + lengths.transfer + lengths.compute
    return Phase.LATE if elapsed_ms > 2 * whole else phase_at(elapsed_ms, lengths)


def _is_warm(attempt: Worked, of_browser: Sequence[Worked], strikes: Sequence[Strike]) -> bool:
    struck = [s.at for s in strikes if s.browser == attempt.browser and s.at < attempt.began]
    since = max(struck, default=float("-inf"))
    return any(
        one.sha256 == attempt.sha256
        and one.lengths is not None
        and since < one.began < attempt.began
        for one in of_browser
    )
