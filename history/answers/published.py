"""Answers that the last recomputation published: recommendations, scores, regressions."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from history import series, vocabulary
from history.announcing import described
from history.answers.common import check, iso, snapshot
from history.core.preferences import DEFAULT_CONFIDENCE, STARTING_PREFERENCES
from history.core.recommendations import of_model
from history.core.samples import PART_TYPES
from history.core.series import MIN_SAMPLES
from history.errors import Refused
from history.models import BasedOn, BrowserRecommendation, CapabilityScore, HistoryState, Regression
from history.recompute import oldest, row_of


def recommendation(model_type: str, model_name: str = "") -> dict[str, Any]:
    """The browser for a model, with its evidence; `known` is False when history has none.

    A model that is recorded under another type is that model all the same; the answer says its type.

    Raises:
        Refused: an unknown model type.
    """
    check(model_type=model_type)
    row = _published(model_type, model_name)
    if model_name and (row is None or not row.model_name):
        row = _measured(model_type, model_name) or row
    state = HistoryState.objects.current()
    asked = {"model_type": model_type, "model_name": model_name or None}
    recorded = {"samples_recorded": state.samples, "recomputed_at": iso(state.recomputed_at)}
    if row is not None:
        found = {**asked, **recorded, "known": True, **_recommendation(row, model_name)}
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
            **asked, **recorded, **nothing, "recommended_browser": default,
            "confidence": DEFAULT_CONFIDENCE, "sample_size": 0, "based_on": BasedOn.DEFAULT.value,
            "reason": "history knows nothing; this is a documented starting preference",
        }  # fmt: skip
    return {
        **asked, **recorded, **nothing, "confidence": None, "sample_size": 0, "based_on": None,
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


def _measured(model_type: str, model_name: str) -> BrowserRecommendation | None:
    """A model's own measurements decide at once, also those since the last recomputation."""
    now = timezone.now()
    own = series.load(snapshot(), oldest(now), model_type=model_type, model_name=model_name)
    found = of_model([one.for_its_model() for one in own], None)
    return row_of((model_type, model_name), found, now) if found else None


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


def scores(*, browser: str | None = None, model_type: str | None = None) -> list[dict[str, Any]]:
    """Published capability scores, each with interval, sample size and time.

    Raises:
        Refused: a filter that cannot be right.
    """
    check(browser=browser, model_type=model_type)
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
