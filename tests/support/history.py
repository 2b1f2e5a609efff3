"""Made samples with a known truth, for tests of history."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from history.core.samples import Observation
from history.store import Snapshot


def sample(**changes: Any) -> Observation:
    """A right sample of an hour ago."""
    fields: dict[str, Any] = {
        "source": "", "source_id": 0, "browser": "chromium", "model_type": "text",
        "model_name": "m", "platform": "wasm", "latency_ms": 10.0, "success": True, "warm": True,
        "concurrent": 0, "work": "a" * 64, "shape": "x[1,8]", "batch_size": 1,
        "browser_version": "150", "host": "here",
        "timestamp": datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1),
    }  # fmt: skip
    return Observation(**{**fields, **changes})


def series(
    median_ms: float, *, count: int = 30, seed: int = 0, minutes_ago: float = 60.0, **changes: Any
) -> Iterator[Observation]:
    """So many samples, a second apart, scattered by 5 % about a median."""
    rng = np.random.default_rng(seed)
    began = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=minutes_ago)
    for number, factor in enumerate(np.exp(rng.normal(0, 0.05, count))):
        yield sample(
            latency_ms=float(median_ms * factor),
            timestamp=began + timedelta(seconds=number),
            **changes,
        )


def kept(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Every sample of a history, in order of time."""
    return snapshot.rows("export", browser=None, model_type=None, model_name=None, since=None)
