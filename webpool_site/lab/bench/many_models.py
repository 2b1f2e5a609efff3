"""A history of very many small models: what one recomputation costs, and that it costs as much for each."""

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

from history import pacing, recompute
from history.core.samples import Observation
from history.store import HistoryStore
from webpool_site.lab.bench.stats import Progress, Row, Table

MODELS: Final = (2_500, 10_000)
EACH: Final = 10
_BROWSERS: Final = ("chromium", "firefox")
_GOAL_S: Final = 5.0


def measure() -> Iterator[Row | Table | str]:
    """Seconds of deciding and publishing, for so many models of one type with ten samples each."""
    rows = []
    for models in MODELS:
        decide_s, publish_s, cpu_s = _recomputation(models)
        yield Progress(f"history: {models:,} models recomputed")
        total = decide_s + publish_s
        goal = f"≤ {_GOAL_S:g}" if models == MODELS[-1] else "-"
        rows.append((f"{models:,}", decide_s, publish_s, total, cpu_s, 1000 * total / models, goal))
    yield Table(
        f"history: many models of one type, {EACH} samples each, in {len(_BROWSERS)} browsers; "
        f"the next time is at least {pacing.REST:g} times as far as one takes",
        (
            "models",
            "deciding, s",
            "publishing, s",
            "both, s",
            "of a core, s",
            "ms per model",
            "goal, s",
        ),
        tuple(rows),
    )


def _recomputation(models: int) -> tuple[float, float, float]:
    """Deciding, publishing in a transaction that is rolled back, and processor time of both; seconds."""
    now = timezone.now()
    with (
        tempfile.TemporaryDirectory() as folder,
        HistoryStore(Path(folder) / "history.duckdb") as store,
    ):
        store.record(list(_samples(models, now)))
        began, cpu_before = time.perf_counter(), time.process_time()
        decided = recompute.decide(store, now)
        decide_s = time.perf_counter() - began
        began = time.perf_counter()
        rows = recompute.recommended(decided, now)
        with transaction.atomic():
            recompute.publish(decided, rows, now)
            transaction.set_rollback(True)
        recompute.keep(store, decided, rows, now)
        publish_s = time.perf_counter() - began
        cpu_s = time.process_time() - cpu_before
    return decide_s, publish_s, cpu_s


def _samples(models: int, now: datetime) -> Iterator[Observation]:
    rng = np.random.default_rng(7)
    began = now.astimezone(UTC).replace(tzinfo=None) - timedelta(hours=5)
    factors = np.exp(rng.normal(0, 0.3, (models, EACH)))
    medians = 5 * np.exp(rng.normal(0, 1, models))
    for model in range(models):
        for at in range(EACH):
            number = model * EACH + at
            fields: dict[str, Any] = {
                "source": "made", "source_id": number, "browser": _BROWSERS[at % len(_BROWSERS)],
                "timestamp": began + timedelta(seconds=number / 100),
                "latency_ms": float(medians[model] * factors[model, at]),
            }  # fmt: skip
            yield Observation(
                model_type="other", model_name=f"small-{model}", platform="wasm", success=True,
                memory_mb=300.0, batch_size=1, browser_version="1", work=f"{model:064x}",
                shape="x[1,8]", warm=True, concurrent=0, **fields,
            )  # fmt: skip
