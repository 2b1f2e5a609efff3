"""What is compared: the same work, done by different arms.

Latencies of different work, or of software and hardware adapters, are never pooled: a `Work` is one file
at one bucket of input shapes, batch size and load; an `Arm` one kind of browser with one backend on one
kind of adapter. Warm-ups are left out by whoever makes a `Series`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

MIN_SAMPLES = 5
Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, order=True)
class Work:
    """The same computation: model, file (SHA-256 of model or shard), bucket of input shapes, batch, load.

    `load` is a bucket of how much else the pool computed meanwhile: a browser that was
    measured alone is not compared with one that was measured in a crowd.
    """

    model_type: str
    model_name: str
    sha256: str = ""
    shape: str = ""
    batch_size: int = 0
    load: int = 0


@dataclasses.dataclass(frozen=True, order=True)
class Arm:
    """Who computes: a kind of browser, a backend, and whether its adapter is software (None: no adapter)."""

    browser: str
    platform: str = ""
    software: bool | None = dataclasses.field(default=None, compare=True)

    def __post_init__(self) -> None:
        if not self.browser:
            raise ValueError("an arm needs a browser; got an empty name")

    def __hash__(self) -> int:
        """That of the names alone, which Python remembers: an arm is asked for it all the time."""
        return hash((self.browser, self.platform))

    @property
    def key(self) -> tuple[str, str, str]:
        """For sorting: None and bool do not compare."""
        return self.browser, self.platform, str(self.software)

    def __str__(self) -> str:
        kind = {True: " (software)", False: " (hardware)", None: ""}[self.software]
        return f"{self.browser}/{self.platform}{kind}"


@dataclasses.dataclass(frozen=True)
class Series:
    """What one arm measured on one work.

    Attributes:
        latencies_ms: of successful, warm computations; shape (n,), positive, finite, in order of time.
        successes: computations with a result, warm or not. `failures`: those that ended without one, by the
            browser's own fault. An arm without a platform stands for failures from before a backend was
            known: they count against all arms of its browser.
        model_failures: what this model cannot do in that browser, which is otherwise well. What is the same
            in every browser, or was its caller's wish, is counted nowhere.
        throughputs: tokens per second where tokens were counted; shape (m,).
        memory_mb: of the browser's process tree; shape (m,).
    """

    work: Work
    arm: Arm
    latencies_ms: Floats
    successes: int
    failures: int = 0
    model_failures: int = 0
    throughputs: Floats = dataclasses.field(default_factory=lambda: np.empty(0))
    memory_mb: Floats = dataclasses.field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        for name in ("latencies_ms", "throughputs", "memory_mb"):
            check_positive(name, getattr(self, name))
        counts = self.successes, self.failures, self.model_failures
        if min(counts) < 0:
            raise ValueError(f"successes and failures: expected counts, got {counts}")

    @property
    def samples(self) -> int:
        return len(self.latencies_ms)

    def for_its_model(self) -> Series:
        """As it counts for this very model: also what only this model cannot do there is a failure."""
        if not self.model_failures:
            return self
        failures = self.failures + self.model_failures
        return dataclasses.replace(self, failures=failures, model_failures=0)


def check_positive(name: str, values: Floats) -> None:
    """Raises ValueError unless every value is finite and above zero."""
    if values.ndim != 1:
        raise ValueError(f"{name}: expected a list of numbers, got shape {values.shape}")
    if not values.size or 0 < values.min() <= values.max() < np.inf:  # not so with any NaN
        return
    bad = values[~(np.isfinite(values) & (values > 0))]
    if bad.size:
        raise ValueError(f"{name}: expected finite numbers above zero, got {bad[0]}")
