"""Simulated truth: series whose best arm is known, as a pool would have measured them."""

from __future__ import annotations

import numpy as np

from history.core.series import Arm, Floats, Series, Work

WORK = Work("text", "minilm", "ab" * 32, "ids[1,128]", 1)


def series(
    latencies_ms: object,
    browser: str = "chromium",
    platform: str = "wasm",
    *,
    work: Work = WORK,
    failures: int = 0,
    model_failures: int = 0,
    software: bool | None = None,
    memory_mb: object = (),
) -> Series:
    values = np.asarray(latencies_ms, dtype=np.float64)
    memory = np.asarray(memory_mb, dtype=np.float64)
    arm = Arm(browser, platform, software)
    return Series(work, arm, values, values.size, failures, model_failures, memory_mb=memory)


def latencies(rng: np.random.Generator, median_ms: float, size: int, *, spread: float) -> Floats:
    """Skewed, with outliers and neighbours alike, as on a busy machine."""
    noise = rng.normal(size=size)
    for i in range(1, size):
        noise[i] = 0.3 * noise[i - 1] + np.sqrt(1 - 0.09) * noise[i]
    late = rng.random(size) < 0.05
    return median_ms * np.exp(spread * noise + late * rng.exponential(1.0, size))
