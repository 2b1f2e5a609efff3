"""Quantiles of measured durations: always a value that was measured, never one between two."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Quantiles:
    """Of `count` durations in milliseconds; None where there was none."""

    count: int
    p50_ms: float | None
    p95_ms: float | None
    sum_ms: float


def quantiles(durations_ms: Sequence[float]) -> Quantiles:
    """Median and 95th percentile by the inverse of the empirical distribution (Hyndman and Fan, type 1)."""
    if not durations_ms:
        return Quantiles(0, None, None, 0.0)
    values = np.asarray(durations_ms, dtype=float)
    p50, p95 = np.quantile(values, [0.5, 0.95], method="inverted_cdf")
    return Quantiles(len(values), float(p50), float(p95), float(values.sum()))
