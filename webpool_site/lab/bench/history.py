"""A history of a million samples, made from a seed, whose best browsers are known.

The history is a file of its own in a temporary folder; what follows from it is published inside a
transaction that is rolled back, so that the pool's own recommendations stay.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from django.db import transaction
from django.utils import timezone

from browsers.core.failures import Category
from history import answers, recompute
from history.core.samples import Observation
from history.store import HistoryStore
from webpool_site.lab.bench import many_models
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.stats import Progress, Row, Table, row

SAMPLES: Final = 1_000_000
MODELS: Final = 12
_BATCH: Final = 20_000
_TYPES: Final = ("text", "vision", "audio", "text_embedding")
_ARMS: Final = (
    ("chromium", "wasm"), ("chromium", "webgpu"), ("chromium-npm", "webnn"), ("firefox", "wasm"),
    ("firefox", "webgpu"), ("webkitgtk", "wasm"),
)  # fmt: skip


def measure(pool: Pool | None) -> Iterator[Row | Table | str]:
    """Rows recorded per second, one full recomputation, one recommendation, and how many are right."""
    now = timezone.now()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.duckdb"
        generator = Made(seed=5, now=now)
        recording_s = 0.0
        with HistoryStore(path) as store:
            for first in range(0, SAMPLES, _BATCH):
                made = generator.batch(first, _BATCH)
                began = time.perf_counter()
                store.record(made)
                recording_s += time.perf_counter() - began
                yield Progress(f"history: {first + _BATCH:,} of {SAMPLES:,} samples recorded")
            times = []
            for _ in range(3):
                began = time.perf_counter()
                decided = recompute.decide(store, now)
                times.append(time.perf_counter() - began)
        with transaction.atomic():
            began = time.perf_counter()
            recompute.publish(decided, recompute.recommended(decided, now), now)
            publish_s = time.perf_counter() - began
            asked, right = _ask(generator)
            transaction.set_rollback(True)
    yield Table(
        f"history: {SAMPLES:,} samples of {MODELS} models in {len(_ARMS)} ways, made from a seed",
        ("what", "measured", "goal"),
        (
            ("samples recorded per second", round(SAMPLES / recording_s), "≥ 10000"),
            ("full recomputation, s (median of 3)", float(np.median(times)), "≤ 5"),
            ("publishing it, s", publish_s, "-"),
            ("recommendations within 5 % of the true best", f"{right} of {MODELS}", "-"),
        ),
    )
    yield row("one recommendation with its evidence", asked, goal_ms=10.0)
    yield from many_models.measure()


def _ask(generator: Made) -> tuple[list[float], int]:
    """Times in ms of asking for every model, and how many answers name a true best."""
    times, right = [], 0
    for number in range(MODELS):
        began = time.perf_counter()
        found = answers.recommendation(_type(number), _name(number))
        times.append((time.perf_counter() - began) * 1000)
        chosen = (found["recommended_browser"], found["recommended_platform"])
        right += chosen in generator.best(number)
    return times, right


def _name(model: int) -> str:
    return f"made-{model}"


def _type(model: int) -> str:
    return _TYPES[model % len(_TYPES)]


class Made:
    """A stream of samples with a known truth: each model has a true median in each way to run it."""

    def __init__(self, *, seed: int, now: datetime) -> None:
        self._rng = np.random.default_rng(seed)
        self._now = now.astimezone(UTC).replace(tzinfo=None)
        base = self._rng.uniform(5, 80, (MODELS, 1))
        self._median_ms = base * np.exp(self._rng.normal(0, 0.5, (MODELS, len(_ARMS))))

    def best(self, model: int) -> set[tuple[str, str]]:
        """The ways whose true median is within 5 % of the fastest."""
        medians = self._median_ms[model]
        return {_ARMS[i] for i in np.flatnonzero(medians <= medians.min() * 1.05)}

    def batch(self, first: int, count: int) -> list[Observation]:
        models = self._rng.integers(0, MODELS, count)
        arms = self._rng.integers(0, len(_ARMS), count)
        latencies = self._median_ms[models, arms] * np.exp(self._rng.normal(0, 0.2, count))
        fails = self._rng.random(count) < 0.01
        ages_s = np.linspace(1, 0, SAMPLES)[first : first + count] * 20 * 86_400
        return [
            self._one(first + i, int(models[i]), int(arms[i]), float(latencies[i]), bool(fails[i]),
                      float(ages_s[i]))
            for i in range(count)
        ]  # fmt: skip

    def _one(
        self, number: int, model: int, arm: int, latency_ms: float, fails: bool, age_s: float
    ) -> Observation:
        browser, platform = _ARMS[arm]
        facts: dict[str, Any] = (
            {"error_type": Category.TIMEOUT} if fails else {"latency_ms": latency_ms}
        )
        return Observation(
            source="made",
            source_id=number,
            timestamp=self._now - timedelta(seconds=age_s),
            browser=browser,
            model_type=_type(model),
            model_name=_name(model),
            platform=platform,
            success=not fails,
            memory_mb=500.0 + 10 * arm,
            batch_size=1,
            browser_version=f"1{arm}.0",
            software=platform == "webgpu" or None,
            work=f"{model:064x}",
            shape="x[1,64]",
            warm=True,
            concurrent=0,
            **facts,
        )
