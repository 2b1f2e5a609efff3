"""What the calls of one pool object measured."""

from __future__ import annotations

import statistics
import threading
from collections import Counter, deque

from inference.documents import JsonObject, JsonView

_LATEST = 1000


class Tally:
    """Counts of everything, and the times of the latest thousand answers per model."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._succeeded: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._browsers: Counter[str] = Counter()
        self._recoveries: Counter[str] = Counter()
        self._times_ms: dict[str, deque[float]] = {}

    def count(self, model: str, metrics: JsonView | None) -> None:
        """One answer with its metrics; None: it failed."""
        with self._lock:
            if metrics is None:
                self._failed[model] += 1
                return
            self._succeeded[model] += 1
            if metrics["inference_time_ms"] is not None:
                times = self._times_ms.setdefault(model, deque(maxlen=_LATEST))
                times.append(metrics["inference_time_ms"])
            for shard in metrics["shards"]:
                self._browsers[shard["browser"] or "unknown"] += 1
                self._recoveries.update(event["category"] for event in shard["recovery_events"])

    def to_json(self) -> JsonObject:
        """`recovery_events` counts by category what answers survived."""
        with self._lock:
            models = sorted({*self._succeeded, *self._failed})
            return {
                "requests": self._succeeded.total() + self._failed.total(),
                "succeeded": self._succeeded.total(),
                "failed": self._failed.total(),
                "models": {name: self._model(name) for name in models},
                "shards_by_browser": dict(self._browsers),
                "recovery_events": dict(self._recoveries),
            }

    def _model(self, name: str) -> JsonObject:
        times = self._times_ms.get(name)
        return {
            "succeeded": self._succeeded[name],
            "failed": self._failed[name],
            "median_inference_time_ms": statistics.median(times) if times else None,
        }
