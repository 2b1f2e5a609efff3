"""Answers from the measurements themselves: samples, comparisons, trends, anomalies."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.utils import timezone

from history import series
from history.answers.common import age, check, document, snapshot
from history.core import anomalies, comparison
from history.core.changepoints import ChangePoint, change_points_of
from history.core.series import Floats, Series, Work
from history.core.trends import trend
from history.errors import Refused
from history.recompute import oldest
from history.transfer import since as since_days

MOST_SAMPLES: Final = 10_000
_METRICS: Final = ("latency_ms", "throughput_tokens_per_sec", "memory_mb")


def performance(
    *,
    browser: str | None = None,
    model_type: str | None = None,
    model_name: str | None = None,
    days: float | None = None,
    most: int = 1000,
) -> dict[str, Any]:
    """The latest samples as recorded, newest first.

    Raises:
        Refused: a filter that cannot be right.
    """
    check(browser=browser, model_type=model_type)
    if not 0 < most <= MOST_SAMPLES:
        raise Refused(f"limit {most}: expected 1 to {MOST_SAMPLES}")
    history = snapshot()
    rows = history.rows(
        "performance", browser=browser, model_type=model_type, model_name=model_name,
        since=since_days(days), most=most,
    )  # fmt: skip
    return document({**age(history), "samples": rows})


def compare(model_type: str, model_name: str) -> dict[str, Any]:
    """Every arm on each work of a model, fastest first, with intervals and corrected p-values.

    Raises:
        Refused: an unknown model type.
    """
    check(model_type=model_type)
    history = snapshot()
    by_work: dict[Work, list[Series]] = defaultdict(list)
    for one in series.load(
        history, oldest(timezone.now()), model_type=model_type, model_name=model_name
    ):
        if one.arm.platform:
            by_work[one.work].append(one)
    return document(
        {
            **age(history),
            "works": [
                {"work": _work(work), "arms": [_compared(row) for row in comparison.compare(arms)]}
                for work, arms in sorted(by_work.items())
            ],
        }
    )


def _compared(row: comparison.Compared) -> dict[str, Any]:
    fields = dataclasses.asdict(row)
    return {**fields.pop("arm"), **fields}


def _work(work: Work) -> dict[str, Any]:
    named = dataclasses.asdict(work)
    return {
        **named,
        "sha256": work.sha256 or None,
        "shape": work.shape or None,
        "batch_size": work.batch_size or None,
        "load": None if work.load < 0 else work.load,
    }


_LINE_KEY: Final = ("browser", "platform", "software", "sha256", "shape", "batch_size")


@dataclasses.dataclass(frozen=True)
class Line:
    """Latencies of one arm on one work in order of time, as pictures and trends want them."""

    browser: str
    platform: str
    software: bool | None
    sha256: str
    shape: str
    batch_size: int
    times: Sequence[datetime]
    builds: Sequence[str | None]
    latencies_ms: Floats


def timelines(
    *,
    model_name: str | None = None,
    model_type: str | None = None,
    browser: str | None = None,
    platform: str | None = None,
    days: float = 30.0,
    most: int = MOST_SAMPLES,
) -> tuple[dict[str, Any], list[Line]]:
    """The lines of a model (at most `most` of its latest samples), and the age of the history."""
    check(browser=browser, model_type=model_type, platform=platform)
    history = snapshot()
    grouped: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in history.rows(
        "timeline", browser=browser, model_type=model_type, model_name=model_name,
        platform=platform, since=since_days(days), most=most,
    ):  # fmt: skip
        grouped[tuple(row[name] for name in _LINE_KEY)].append(row)
    lines = [
        Line(
            **dict(zip(_LINE_KEY, key, strict=True)),
            times=[row["timestamp"] for row in rows],
            builds=[row["build"] for row in rows],
            latencies_ms=series.floats(row["latency_ms"] for row in rows),
        )
        for key, rows in grouped.items()
    ]
    return age(history), sorted(lines, key=lambda line: (-len(line.times), line.browser))


def trends(**filters: Any) -> dict[str, Any]:
    """Trend and change points of each arm on each work; filters as `timelines`."""
    aged, lines = timelines(**filters)
    changed = change_points_of([line.latencies_ms for line in lines])
    found = [_moved(line, points) for line, points in zip(lines, changed, strict=True)]
    return document({**aged, "series": found})


def _moved(line: Line, points: Sequence[ChangePoint]) -> dict[str, Any]:
    return {
        **_named(line),
        "samples": len(line.times),
        "trend": dataclasses.asdict(trend(_days(line.times), line.latencies_ms)),
        "change_points": [
            {
                **dataclasses.asdict(point),
                "at": line.times[point.index].isoformat(),
                "build_before": line.builds[point.index - 1],
                "build": line.builds[point.index],
            }
            for point in points
        ],
    }


def _named(line: Line) -> dict[str, Any]:
    return {
        "browser": line.browser,
        "platform": line.platform or None,
        "software": line.software,
        "sha256": line.sha256 or None,
        "shape": line.shape or None,
        "batch_size": line.batch_size or None,
    }


def _days(times: Sequence[datetime]) -> Floats:
    return series.floats((one - times[0]).total_seconds() / 86_400 for one in times)


def found_anomalies(**filters: Any) -> dict[str, Any]:
    """The latest latency of each arm on each work against those before it, and marks in the past."""
    aged, lines = timelines(**filters)
    rows = []
    for line in lines:
        values = line.latencies_ms
        verdict = anomalies.judge("latency_ms", float(values[-1]), values[:-1])
        rows.append(
            {
                **_named(line),
                "at": line.times[-1].isoformat(),
                "latest": dataclasses.asdict(verdict),
                "outliers": [
                    {"at": line.times[i].isoformat(), "latency_ms": float(values[i])}
                    for i in anomalies.outliers(values)
                ],
            }
        )
    return document({**aged, "series": rows})


def detect_anomalies(
    browser: str, model_type: str, model_name: str, platform: str, metrics: Mapping[str, float]
) -> dict[str, Any]:
    """Judge metrics (latency_ms, throughput_tokens_per_sec, memory_mb) against this arm's series.

    Where the model did different work there (shards, shapes, batches), the work with the most samples is
    the one compared with; the answer names it.

    Raises:
        Refused: an unknown name, or a metric that is no number above zero.
    """
    check(browser=browser, model_type=model_type, platform=platform)
    if unknown := [name for name in metrics if name not in _METRICS]:
        raise Refused(f"metric {unknown[0]!r}: expected some of {', '.join(_METRICS)}")
    for name, value in metrics.items():
        if isinstance(value, bool) or not (math.isfinite(value) and value > 0):
            raise Refused(f"{name} {value}: expected a finite number above 0")
    history = snapshot()
    rows = history.rows(
        "timeline", browser=browser, model_type=model_type, model_name=model_name,
        platform=platform, since=oldest(timezone.now()), most=MOST_SAMPLES,
    )  # fmt: skip
    by_work: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_work[row["sha256"], row["shape"], row["batch_size"]].append(row)
    most = max(by_work.values(), key=len, default=[])
    verdicts = [
        anomalies.judge(name, float(value), _column(most, name)) for name, value in metrics.items()
    ]
    compared = (
        {name: most[0][name] or None for name in ("sha256", "shape", "batch_size")}
        if most
        else None
    )
    return document(
        {
            **age(history),
            "work": compared,
            "anomaly": any(one.anomaly for one in verdicts),
            "metrics": [dataclasses.asdict(one) for one in verdicts],
        }
    )


def _column(rows: Iterable[Mapping[str, Any]], name: str) -> Floats:
    return series.floats(row[name] for row in rows if row[name] is not None and row[name] > 0)
