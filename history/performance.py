"""`BrowserPerformanceHistory`: the history for Python callers; the same answers as REST and admin."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class BrowserPerformanceHistory:
    """Record, ask and export. Usable in a plain script: Django is set up by itself.

    Every method raises `history.errors.HistoryError` for what cannot be right, with nothing changed.
    """

    def __init__(self) -> None:
        from django.apps import apps

        if not apps.ready:
            import os

            import django

            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webpool_site.settings")
            django.setup()

    def record_execution(
        self,
        browser: str,
        model_type: str,
        model_name: str,
        *,
        success: bool = True,
        latency_ms: float | None = None,
        timestamp: datetime | None = None,
        **facts: Any,
    ) -> None:
        """Commit one measurement to the outbox; the history worker takes it over within seconds.

        `facts` are other fields of `history.core.samples.Observation` (platform, memory_mb, batch_size …).

        Raises:
            Refused: says each value that cannot be true.
        """
        from history import recording
        from history.core.samples import Observation
        from history.errors import Refused

        moment = (timestamp or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None)
        try:
            item = Observation(
                source=recording.PENDING, source_id=0, timestamp=moment, browser=browser,
                model_type=model_type, model_name=model_name, success=success,
                latency_ms=latency_ms, **facts,
            )  # fmt: skip
        except TypeError as error:
            raise Refused(f"record_execution: {error}") from error
        recording.check(item)
        recording.put([item])

    def get_performance_history(
        self, browser: str | None = None, model_type: str | None = None, days: float = 30
    ) -> dict[str, Any]:
        """Samples, newest first, with `as_of`: when the copy that was read was complete."""
        from history import answers

        return answers.performance(
            browser=browser, model_type=model_type, days=days, most=answers.MOST_SAMPLES
        )

    def get_browser_recommendations(self, model_type: str, model_name: str = "") -> dict[str, Any]:
        """The browser for a model with its evidence; `known` False: history knows nothing."""
        from history import answers

        return answers.recommendation(model_type, model_name)

    def get_capability_scores(
        self, browser: str | None = None, model_type: str | None = None
    ) -> list[dict[str, Any]]:
        """Scores 0 to 100, each with interval, sample size and time."""
        from history import answers

        return answers.scores(browser=browser, model_type=model_type)

    def detect_anomalies(
        self,
        browser: str,
        model_type: str,
        model_name: str,
        platform: str,
        metrics: dict[str, float],
    ) -> dict[str, Any]:
        """Whether these metrics are unlike those measured before."""
        from history import answers

        return answers.detect_anomalies(browser, model_type, model_name, platform, metrics)

    def get_optimized_browser_config(self, model_type: str, model_name: str = "") -> dict[str, Any]:
        """What is applied when the model is loaded, on what evidence, and what is left out and why."""
        from history import answers

        found = answers.recommendation(model_type, model_name)
        config = found.get("config") or {}
        return {
            "browser": found["recommended_browser"] if found["known"] else None,
            "applied": config.get("applied", {}),
            "left_out": config.get("left_out", {}),
            "confidence": found["confidence"] if found["known"] else None,
            "sample_size": found["sample_size"],
        }

    def export_data(self, filepath: str | Path, format: str | None = None, **filters: Any) -> int:  # noqa: A002
        """Write samples as json, csv or parquet (by default what the name ends with); returns how many."""
        from history import transfer

        return transfer.export(Path(filepath), file_format=format, **filters)
