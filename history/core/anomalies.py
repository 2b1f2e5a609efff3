"""Is a measurement unlike the series before it?

Two scores: plain z = (x − mean) / standard deviation, an anomaly beyond 2.5; robust z = 0.6745 · (x − median)
/ MAD, beyond 3.5 (Iglewicz and Hoaglin). Latencies are compared as logarithms. What is less than
`_LEAST_CHANGE` off the median is no anomaly, however alike the others are; of a series that never varied,
whatever is more. Fewer than `LEAST_SAMPLES` say nothing, and within a series, of which the odd one is a part,
fewer than twice as many.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from history.core.series import Floats, check_positive

PLAIN_LIMIT = 2.5
ROBUST_LIMIT = 3.5
_ROBUST_SCALE = 0.6745
_LEAST_CHANGE = 0.05
LEAST_SAMPLES = 10


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One metric of one measurement against its series.

    Attributes:
        anomaly: None when there are too few samples to tell.
        z, robust_z: None where the series has no spread to measure by, or too few samples.
        baseline: median of the series; None without samples.
    """

    metric: str
    value: float
    anomaly: bool | None
    z: float | None
    robust_z: float | None
    baseline: float | None
    samples: int
    reason: str


def judge(metric: str, value: float, series: Floats) -> Verdict:
    """Judge one value against the series before it; both above zero, else ValueError."""
    check_positive(metric, np.array([value], dtype=np.float64))
    check_positive(metric, series)
    baseline = float(np.median(series)) if series.size else None
    if series.size < LEAST_SAMPLES:
        reason = f"{series.size} samples; {LEAST_SAMPLES} are needed to tell"
        return Verdict(metric, value, None, None, None, baseline, series.size, reason)
    logs, x = np.log(series), math.log(value)
    z = _ratio(x - float(logs.mean()), float(logs.std(ddof=1)))
    mad = float(np.median(np.abs(logs - np.median(logs))))
    robust = _ratio(_ROBUST_SCALE * (x - float(np.median(logs))), mad)
    reasons = []
    if abs(x - float(np.median(logs))) <= math.log1p(_LEAST_CHANGE):
        return Verdict(metric, value, False, z, robust, baseline, series.size, "")
    if z is not None and abs(z) > PLAIN_LIMIT:
        reasons.append(f"|z| = {abs(z):.1f} > {PLAIN_LIMIT}")
    if robust is not None and abs(robust) > ROBUST_LIMIT:
        reasons.append(f"|robust z| = {abs(robust):.1f} > {ROBUST_LIMIT}")
    if robust is None:
        reasons.append(f"most of the series is {baseline:g}, this is not")
    return Verdict(
        metric, value, bool(reasons), z, robust, baseline, series.size, "; ".join(reasons)
    )


def _ratio(difference: float, spread: float) -> float | None:
    return difference / spread if spread > 1e-9 else None


def outliers(series: Floats) -> list[int]:
    """Positions in a series whose robust z is beyond the limit, for marks in a picture."""
    check_positive("series", series)
    if series.size < 2 * LEAST_SAMPLES:
        return []
    logs = np.log(series)
    distance = np.abs(logs - np.median(logs))
    mad = float(np.median(distance))
    limit = max(ROBUST_LIMIT * mad / _ROBUST_SCALE, math.log1p(_LEAST_CHANGE))
    return [int(i) for i in np.flatnonzero(distance > limit)]
