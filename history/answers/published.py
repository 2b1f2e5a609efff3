"""Answers that the last recomputation published: recommendations, scores, regressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.utils import timezone

from history import series, vocabulary
from history.announcing import described
from history.answers.common import check, iso, snapshot
from history.core.preferences import DEFAULT_CONFIDENCE, STARTING_PREFERENCES
from history.core.recommendations import little_known, of_model
from history.core.samples import PART_TYPES
from history.core.series import MIN_SAMPLES, Series
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
    own: Sequence[Series] = ()
    if model_name and (row is None or not row.model_name):
        own = _own(model_type, model_name)
        row = _measured(model_type, model_name, own) or row
    state = HistoryState.objects.current()
    found: dict[str, Any] = {
        "model_type": model_type, "model_name": model_name or None,
        "samples_recorded": state.samples, "recomputed_at": iso(state.recomputed_at),
    }  # fmt: skip
    if row is None:
        return {**found, **_nothing(model_type, own, state.samples)}
    found |= _recommendation(row) if row.recommended_browser else _nobody(row)
    if row.model_type != model_type:
        recorded = f"{model_name} is recorded as a model of type {row.model_type}"
        found |= {
            "model_type": row.model_type,
            "reason": "; ".join(filter(None, [recorded, found["reason"]])),
        }
    return found


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


def _own(model_type: str, model_name: str) -> Sequence[Series]:
    """A model's own measurements, also those since the last recomputation."""
    known = series.load(
        snapshot(), oldest(timezone.now()), model_type=model_type, model_name=model_name
    )
    return [one.for_its_model() for one in known]


def _measured(
    model_type: str, model_name: str, own: Sequence[Series]
) -> BrowserRecommendation | None:
    """A model's own measurements decide at once."""
    found = of_model(own, None)
    return row_of((model_type, model_name), found, timezone.now()) if found else None


_UNKNOWN: Final[Mapping[str, Any]] = {
    "known": False, "recommended_browser": None, "recommended_platform": None, "confidence": None,
    "sample_size": 0, "based_on": None,
}  # fmt: skip


def _nothing(model_type: str, own: Sequence[Series], samples: int) -> dict[str, Any]:
    """No arm has enough samples: the documented preference, unless the model was seen to run somewhere."""
    config = {"evidence": [dict(vars(one)) for one in little_known(own)]}
    found = {**_UNKNOWN, "config": config, "reason": _why_nothing(samples, own)}
    here = vocabulary.available()
    default = next((b for b in STARTING_PREFERENCES.get(model_type, ()) if b in here), None)
    if default is None or any(one.successes for one in own):
        return found
    return {
        **found, "recommended_browser": default, "confidence": DEFAULT_CONFIDENCE,
        "based_on": BasedOn.DEFAULT.value,
        "reason": "history knows nothing; this is a documented starting preference",
    }  # fmt: skip


def _why_nothing(samples: int, own: Sequence[Series]) -> str:
    if own:
        return (
            f"too little is known of this model in any browser: {MIN_SAMPLES} warm samples of the same "
            "work are needed"
        )
    nothing = "history knows nothing of this model and of none of its type"
    if not samples:
        return nothing
    return f"{nothing} yet: {MIN_SAMPLES} warm samples of the same work decide, once they are recomputed"


def _nobody(row: BrowserRecommendation) -> dict[str, Any]:
    """Published, but no browser is recommended."""
    return {
        "timestamp": row.timestamp.isoformat(), **_UNKNOWN, "config": row.config,
        "reason": "no browser is recommended: this model fails in those of which enough is known",
    }  # fmt: skip


def _recommendation(row: BrowserRecommendation) -> dict[str, Any]:
    return {
        "timestamp": row.timestamp.isoformat(),
        "known": True,
        "recommended_browser": row.recommended_browser,
        "recommended_platform": row.recommended_platform or None,
        "confidence": row.confidence,
        "sample_size": row.sample_size,
        "based_on": row.based_on,
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
