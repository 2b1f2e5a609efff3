"""The telemetry document as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tabulate import tabulate

from inference.documents import JsonView
from webpool_site.telling.units import UNKNOWN, megabytes, milliseconds, size

Document = JsonView


def report(document: Document) -> Iterator[str]:
    """Plain lines; what is null is `unknown`."""
    yield from _system(document["system"])
    if "connections" in document:
        yield from _table(
            ["browser", "state", "version", "lease age", "memory", "limit", "restarts", "repairs"],
            [_connection(row) for row in document["connections"]],
        )
    if "models" in document:
        yield from _models(document["models"])
    yield from _table(
        ["rung", "family", "category", "attempts", "helped", "p50", "p95"],
        [_rung(row) for row in document["rungs"]],
    )
    yield f"runs kept: {_counts(document['runs'])}; open shards: {_counts(document['open_shards'])}"
    latency = document["latency"]
    yield (
        f"runs of the last {latency['window_s'] / 60:g} minutes: {_counts(latency['ended'])}; "
        f"those that succeeded took {_quantiles(latency['succeeded_ms'])}"
    )
    yield from _table(
        ["browser", "backend", "computed", "p50", "p95"],
        [_computing(row) for row in latency["computing"]],
    )
    history = document["history"]
    samples = UNKNOWN if history["samples"] is None else f"{history['samples']:,}"
    yield (
        f"history: {samples} samples, age {_seconds(history['taken_age_s'])}, "
        f"recommendations {_seconds(history['recomputed_age_s'])} old"
    )


def _system(system: Document) -> Iterator[str]:
    redis = system["redis"]
    yield (
        f"{system['host']}: {system['cores'] or UNKNOWN} cores, load {system['load_1m']:.2f}, memory "
        f"{system['memory_used_percent']:.0f} % of {system['memory_total_mb'] / 1024:.1f} GB used, disk "
        f"{system['disk_free_mb'] / 1024:.1f} of {system['disk_total_mb'] / 1024:.1f} GB free"
    )
    if not redis["answers"]:
        yield "redis: does not answer"
        return
    yield (
        f"redis: {megabytes(redis['used_mb'])} of {megabytes(redis['cap_mb'])}; "
        f"waiting: {_counts(redis['queues'])}"
    )


def _connection(row: Document) -> list[str]:
    return [
        row["id"],
        row["state"],
        row["version"] or UNKNOWN,
        _seconds(row["lease_age_s"]),
        megabytes(row["memory_mb"]),
        megabytes(row["memory_limit_mb"]),
        str(row["restarts"]),
        str(row["repairs"]),
    ]


def _models(models: Sequence[Document] | None) -> Iterator[str]:
    if models is None:
        yield f"loaded models: {UNKNOWN}"
        return
    yield from _table(
        ["loaded in", "model or shard", "backend", "size", "compute"],
        [
            [
                item["browser"],
                item["name"] or item["sha256"][:16],
                item["backend"],
                size(item["bytes"]),
                milliseconds(item["compute_ms"]),
            ]
            for item in models
        ],
    )


def _rung(row: Document) -> list[str]:
    return [
        row["rung"],
        row["family"],
        row["category"],
        str(row["attempts"]),
        str(row["successes"]),
        milliseconds(row["durations"]["p50_ms"]),
        milliseconds(row["durations"]["p95_ms"]),
    ]


def _computing(row: Document) -> list[str]:
    found = row["compute_ms"]
    count = str(found["count"])
    return [
        row["browser"],
        row["backend"],
        count,
        milliseconds(found["p50_ms"]),
        milliseconds(found["p95_ms"]),
    ]


def _quantiles(found: Document) -> str:
    return f"{milliseconds(found['p50_ms'])} (p50), {milliseconds(found['p95_ms'])} (p95)"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


def _seconds(value: float | None) -> str:
    return milliseconds(None if value is None else 1000 * value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Nothing where there are no rows."""
    if rows:
        yield from tabulate(rows, head, tablefmt="plain", disable_numparse=True).splitlines()
