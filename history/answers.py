"""What history answers: the same documents over REST, on the command line, in the admin and in Python.

Measurements come from the readers' copy of the history file, and each answer says how old it is (`as_of`,
UTC; null: nothing was recorded yet). Recommendations, scores and regressions are rows that the last
recomputation published; each has its own time.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone

from history import recording, series, vocabulary
from history.announcing import described
from history.core import anomalies, comparison
from history.core.changepoints import change_points_of
from history.core.preferences import DEFAULT_CONFIDENCE, STARTING_PREFERENCES
from history.core.samples import MODEL_TYPES, PART_TYPES, PLATFORMS
from history.core.series import MIN_SAMPLES, Floats, Series, Work
from history.core.trends import trend
from history.errors import Refused
from history.models import BasedOn, BrowserRecommendation, CapabilityScore, HistoryState, Regression
from history.recompute import oldest
from history.transfer import since as since_days

if TYPE_CHECKING:
    from history.store import Snapshot

MOST_SAMPLES: Final = 10_000
_METRICS: Final = ("latency_ms", "throughput_tokens_per_sec", "memory_mb")


def snapshot() -> Snapshot:
    from history.store import latest  # DuckDB: only for those who need it

    return latest(recording.history_path())


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
    _check(browser=browser, model_type=model_type)
    if not 0 < most <= MOST_SAMPLES:
        raise Refused(f"limit {most}: expected 1 to {MOST_SAMPLES}")
    history = snapshot()
    rows = history.rows(
        "performance", browser=browser, model_type=model_type, model_name=model_name,
        since=since_days(days), most=most,
    )  # fmt: skip
    return {**_age(history), "samples": rows}


def recommendation(model_type: str, model_name: str = "") -> dict[str, Any]:
    """The browser for a model, with its evidence; `known` is False when history has none.

    A model that is recorded under another type is that model all the same; the answer says its type.

    Raises:
        Refused: an unknown model type.
    """
    _check(model_type=model_type)
    row = _published(model_type, model_name)
    state = HistoryState.objects.current()
    asked = {"model_type": model_type, "model_name": model_name or None}
    told = {"samples_recorded": state.samples, "recomputed_at": _iso(state.recomputed_at)}
    if row is not None:
        found = {**asked, **told, "known": True, **_recommendation(row, model_name)}
        if row.model_type != model_type:
            found |= {
                "model_type": row.model_type,
                "reason": f"{model_name} is recorded as a model of type {row.model_type}",
            }
        return found
    nothing = {"known": False, "recommended_browser": None, "recommended_platform": None}
    here = vocabulary.available()
    default = next((b for b in STARTING_PREFERENCES.get(model_type, ()) if b in here), None)
    if default is not None:
        return {
            **asked, **told, **nothing, "recommended_browser": default,
            "confidence": DEFAULT_CONFIDENCE, "sample_size": 0, "based_on": BasedOn.DEFAULT.value,
            "reason": "history knows nothing; this is a documented starting preference",
        }  # fmt: skip
    return {
        **asked, **told, **nothing, "confidence": None, "sample_size": 0, "based_on": None,
        "reason": _why_nothing(state.samples),
    }  # fmt: skip


def _published(model_type: str, model_name: str) -> BrowserRecommendation | None:
    rows = BrowserRecommendation.objects.all()
    if model_name:
        named = {row.model_type: row for row in rows.filter(model_name=model_name)}
        if model_type in named:
            return named[model_type]
        own = [row for kind, row in named.items() if kind not in PART_TYPES]
        if len(own) == 1:
            return own[0]
    return rows.filter(model_type=model_type, model_name="").first()


def _why_nothing(samples: int) -> str:
    nothing = "history knows nothing of this model and of none of its type"
    if not samples:
        return nothing
    return f"{nothing} yet: {MIN_SAMPLES} warm samples of the same work decide, once they are recomputed"


def _recommendation(row: BrowserRecommendation, asked: str) -> dict[str, Any]:
    # Published for its type: what is known of other models of that type.
    based_on = BasedOn.MODEL_TYPE.value if asked and not row.model_name else row.based_on
    return {
        "timestamp": row.timestamp.isoformat(),
        "recommended_browser": row.recommended_browser,
        "recommended_platform": row.recommended_platform or None,
        "confidence": row.confidence,
        "sample_size": row.sample_size,
        "based_on": based_on,
        "config": row.config,
        "reason": "",
    }


def recommendations() -> list[dict[str, Any]]:
    """Everything that is published, by type and name."""
    return [
        {
            "model_type": row.model_type,
            "model_name": row.model_name or None,
            **_recommendation(row, row.model_name),
        }
        for row in BrowserRecommendation.objects.all()
    ]


def scores(*, browser: str | None = None, model_type: str | None = None) -> list[dict[str, Any]]:
    """Published capability scores, each with interval, sample size and time.

    Raises:
        Refused: a filter that cannot be right.
    """
    _check(browser=browser, model_type=model_type)
    rows = CapabilityScore.objects.all()
    if browser:
        rows = rows.filter(browser=browser)
    if model_type:
        rows = rows.filter(model_type=model_type)
    names = (
        "browser", "model_type", "score", "low", "high", "confidence", "sample_size", "metrics",
    )  # fmt: skip
    return [
        {"timestamp": row.timestamp.isoformat(), **{name: getattr(row, name) for name in names}}
        for row in rows
    ]


def compare(model_type: str, model_name: str) -> dict[str, Any]:
    """Every arm on each work of a model, fastest first, with intervals and corrected p-values.

    Raises:
        Refused: an unknown model type.
    """
    _check(model_type=model_type)
    history = snapshot()
    by_work: dict[Work, list[Series]] = defaultdict(list)
    for one in series.load(
        history, oldest(timezone.now()), model_type=model_type, model_name=model_name
    ):
        if one.arm.platform:
            by_work[one.work].append(one)
    return {
        **_age(history),
        "works": [
            {"work": _work(work), "arms": [_compared(row) for row in comparison.compare(arms)]}
            for work, arms in sorted(by_work.items())
        ],
    }


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
    _check(browser=browser, model_type=model_type, platform=platform)
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
    return _age(history), sorted(lines, key=lambda line: (-len(line.times), line.browser))


def trends(**filters: Any) -> dict[str, Any]:
    """Trend and change points of each arm on each work; filters as `timelines`."""
    age, lines = timelines(**filters)
    changed = change_points_of([line.latencies_ms for line in lines])
    return {
        **age,
        "series": [
            {
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
            for line, points in zip(lines, changed, strict=True)
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
    age, lines = timelines(**filters)
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
    return {**age, "series": rows}


def detect_anomalies(
    browser: str, model_type: str, model_name: str, platform: str, metrics: Mapping[str, float]
) -> dict[str, Any]:
    """Judge metrics (latency_ms, throughput_tokens_per_sec, memory_mb) against this arm's series.

    Where the model did different work there (shards, shapes, batches), the work with the most samples is
    the one compared with; the answer names it.

    Raises:
        Refused: an unknown name, or a metric that is no number above zero.
    """
    _check(browser=browser, model_type=model_type, platform=platform)
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
    return {
        **_age(history),
        "work": compared,
        "anomaly": any(one.anomaly for one in verdicts),
        "metrics": [dataclasses.asdict(one) for one in verdicts],
    }


def _column(rows: Iterable[Mapping[str, Any]], name: str) -> Floats:
    return series.floats(row[name] for row in rows if row[name] is not None and row[name] > 0)


def regressions(state: str | None = None) -> list[dict[str, Any]]:
    """Regressions, the newest first; `state` open or closed.

    Raises:
        Refused: another state.
    """
    if state not in (None, "open", "closed"):
        raise Refused(f"state {state!r}: expected open or closed")
    rows = Regression.objects.all()
    if state is not None:
        rows = rows.filter(closed_at__isnull=state == "open")
    return [described(row) for row in rows]


def _age(history: Snapshot) -> dict[str, Any]:
    return {"as_of": _iso(history.as_of), "age_s": history.age_s(timezone.now())}


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _check(
    *, browser: str | None = None, model_type: str | None = None, platform: str | None = None
) -> None:
    for name, value, allowed in (
        ("browser", browser, vocabulary.browsers()),
        ("model_type", model_type, MODEL_TYPES),
        ("platform", platform, PLATFORMS),
    ):
        if value is not None and value not in allowed:
            raise Refused(f"{name} {value!r}: expected one of {', '.join(allowed)}")
