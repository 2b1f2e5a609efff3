"""The pool in Prometheus' text format: the telemetry document, sample by sample.

Counts over rows are gauges, not counters: retention deletes old runs. What is null has no sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from inference.documents import JsonView

# What `generate_latest` writes; its later formats differ in escaping only.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MB = 2**20
Document = JsonView
Sample = tuple[Mapping[str, str], float | None]


def exposition(document: Document) -> bytes:
    """Every metric of a telemetry document with connections and models."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Document(document))
    return generate_latest(registry)


class _Document(Collector):
    def __init__(self, document: Document) -> None:
        self._document = document

    def collect(self) -> Iterator[Metric]:
        document = self._document
        yield from _ledger(document)
        yield from _browsers(document)
        yield from _breakers(document["breakers"] or ())
        yield from _system(document["system"])
        yield from _repairs(document["rungs"])
        yield from _latency(document["latency"])
        yield from _history(document["history"])

    def describe(self) -> Iterator[Metric]:
        return iter(())


def _ledger(document: Document) -> Iterator[Metric]:
    yield _gauge("webpool_models", "Registered models.", [({}, document["models_registered"])])
    yield _gauge("webpool_runs", "Runs kept, by state.", _by("state", document["runs"]))
    yield _gauge(
        "webpool_open_shards",
        "Shards of active runs that are not done, by state.",
        _by("state", document["open_shards"]),
    )
    yield _gauge(
        "webpool_attempts",
        "Attempts kept, by outcome, browser and backend.",
        [
            (
                {
                    "outcome": row["outcome"],
                    "browser": row["browser"],
                    "backend": row["backend"] or "",
                },
                row["count"],
            )
            for row in document["attempts"]
        ],
    )


def _browsers(document: Document) -> Iterator[Metric]:
    rows: Sequence[Document] = document["connections"]
    states = Counter(row["state"] for row in rows)
    yield _gauge("webpool_browsers", "Browsers known, by state.", _by("state", states))
    yield _gauge(
        "webpool_browser_up",
        "Whether the browser's worker holds its lease.",
        [(_who(row), _flag(row["connected"])) for row in rows],
    )
    for name, about, key, factor in (
        ("heartbeat_age_seconds", "Time since the worker last spoke.", "lease_age_s", 1),
        (
            "memory_bytes",
            "Proportional set size of the browser's process tree, where it could be measured.",
            "memory_mb",
            _MB,
        ),
        ("memory_limit_bytes", "What the browser may take.", "memory_limit_mb", _MB),
        (
            "resident_model_bytes",
            "Bytes of model files loaded in the browser.",
            "resident_bytes",
            1,
        ),
        ("starts", "How often a worker started the browser.", "starts", 1),
        ("repairs", "How often a repair made the browser healthy again.", "repairs", 1),
    ):
        samples = [({"browser": row["id"]}, _times(row[key], factor)) for row in rows]
        yield _gauge(f"webpool_browser_{name}", about, samples)
    loaded = Counter(item["browser"] for item in document["models"] or ())
    yield _gauge(
        "webpool_browser_loaded_models",
        "Models and shards loaded in the browser.",
        [({"browser": row["id"]}, loaded[row["id"]]) for row in rows if row["connected"]],
    )


def _who(row: Document) -> dict[str, str]:
    return {
        "browser": row["id"],
        "family": row["family"],
        "version": row["version"] or "",
        "state": row["state"],
    }


def _breakers(rows: Sequence[Document]) -> Iterator[Metric]:
    """No sample while Redis does not answer."""
    yield _gauge(
        "webpool_breaker_state",
        "1 for the state that the browser's circuit breaker is in.",
        [({"browser": row["browser"], "state": row["state"]}, 1) for row in rows],
    )
    yield _gauge(
        "webpool_breaker_models",
        "Models and shards in the browser with failures or a breaker that is not closed.",
        [({"browser": row["browser"]}, len(row["models"])) for row in rows],
    )


def _system(system: Document) -> Iterator[Metric]:
    redis: Document = system["redis"]
    for name, about, value in (
        ("system_cores", "Cores of the machine that answers.", system["cores"]),
        ("system_load1", "Load average over one minute.", system["load_1m"]),
        ("system_memory_bytes", "Memory of the machine.", system["memory_total_mb"] * _MB),
        (
            "system_memory_available_bytes",
            "Memory that can be had.",
            system["memory_available_mb"] * _MB,
        ),
        (
            "home_disk_bytes",
            "Size of the disk that holds WEBPOOL_HOME.",
            system["disk_total_mb"] * _MB,
        ),
        ("home_disk_free_bytes", "Free on that disk.", system["disk_free_mb"] * _MB),
        ("redis_up", "Whether Redis answers.", _flag(redis["answers"])),
        ("redis_memory_bytes", "Memory that Redis uses.", _times(redis["used_mb"], _MB)),
        (
            "redis_memory_limit_bytes",
            "Its cap, where one is set.",
            _times(redis["cap_mb"], _MB),
        ),
    ):
        yield _gauge(f"webpool_{name}", about, [({}, value)])
    yield _gauge("webpool_queue_length", "Messages waiting.", _by("queue", redis["queues"] or {}))


def _repairs(rungs: Sequence[Document]) -> Iterator[Metric]:
    """The ladder, over the latest repairs."""
    labels = [{key: row[key] for key in ("rung", "family", "category")} for row in rungs]
    for name, about in (("attempts", "Repairs tried"), ("successes", "Repairs that helped")):
        yield _gauge(
            f"webpool_rung_{name}",
            f"{about}, by rung, family and error category, among the latest.",
            list(zip(labels, (row[name] for row in rungs), strict=True)),
        )
    yield _summary(
        "webpool_rung_duration_seconds",
        "How long repairs took, among the latest.",
        list(zip(labels, (row["durations"] for row in rungs), strict=True)),
    )


def _latency(latency: Document) -> Iterator[Metric]:
    yield _gauge(
        "webpool_recent_runs",
        "Runs that ended in the last five minutes, by state.",
        _by("state", latency["ended"]),
    )
    yield _summary(
        "webpool_recent_run_duration_seconds",
        "Creation to end, of the latest runs that succeeded in the last five minutes, 2,000 at most.",
        [({}, latency["succeeded_ms"])],
    )
    yield _summary(
        "webpool_recent_compute_duration_seconds",
        "The page's own time to compute a shard, of the latest 2,000 in the last five minutes.",
        [
            ({"browser": row["browser"], "backend": row["backend"]}, row["compute_ms"])
            for row in latency["computing"]
        ],
    )


def _history(history: Document) -> Iterator[Metric]:
    for name, about, key in (
        ("samples", "Measurements that history has.", "samples"),
        ("age_seconds", "Time since history last took over everything.", "taken_age_s"),
        (
            "recommendations_age_seconds",
            "Time since scores and recommendations were computed.",
            "recomputed_age_s",
        ),
    ):
        yield _gauge(f"webpool_history_{name}", about, [({}, history[key])])


def _by(label: str, counts: Mapping[str, float]) -> list[Sample]:
    return [({label: key}, count) for key, count in counts.items()]


def _flag(known: bool | None) -> float | None:
    return None if known is None else float(known)


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _gauge(name: str, about: str, samples: Iterable[Sample]) -> Metric:
    metric = Metric(name, about, "gauge")
    for labels, value in samples:
        if value is not None:
            metric.add_sample(name, dict(labels), value)
    return metric


def _summary(
    name: str, about: str, samples: Iterable[tuple[Mapping[str, str], Document]]
) -> Metric:
    """Quantiles over a window, with their count and sum; `samples` as browsers.core.quantiles in ms."""
    metric = Metric(name, about, "summary")
    for labels, found in samples:
        for quantile, key in (("0.5", "p50_ms"), ("0.95", "p95_ms")):
            if found[key] is not None:
                metric.add_sample(name, {**labels, "quantile": quantile}, found[key] / 1000)
        metric.add_sample(f"{name}_count", dict(labels), found["count"])
        metric.add_sample(f"{name}_sum", dict(labels), found["sum_ms"] / 1000)
    return metric
