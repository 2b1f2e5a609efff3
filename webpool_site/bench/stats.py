"""Medians and 95th percentiles of what was timed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the report; times in ms. `goal_ms` is what SPEC asks of the median."""

    name: str
    n: int
    median_ms: float
    p95_ms: float
    goal_ms: float | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def reached(self) -> bool | None:
        return None if self.goal_ms is None else self.median_ms <= self.goal_ms


def row(
    name: str, samples_ms: Sequence[float], *, goal_ms: float | None = None, **facts: Any
) -> Row:
    return Row(
        name,
        len(samples_ms),
        float(np.median(samples_ms)),
        float(np.percentile(samples_ms, 95)),
        goal_ms,
        facts,
    )


def timed(action: Callable[[], float], n: int, *, warm_up: int) -> list[float]:
    """Times of `n` calls in ms, less what each call returns (the page's own compute, in ms)."""
    for _ in range(warm_up):
        action()
    samples = []
    for _ in range(n):
        began = time.perf_counter()
        inside_ms = action()
        samples.append((time.perf_counter() - began) * 1000 - inside_ms)
    return samples
