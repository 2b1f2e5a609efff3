"""/admin/pictures/…: history as pictures, drawn on the server."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from browsers.models import Browser
from history import answers
from history.charts import heatmap, intervals
from history.charts.told import compared_works, evidence, works_over_time
from history.models import BrowserRecommendation, CapabilityScore, Regression
from inference.models import ModelType, OnnxModel

_DAYS = (1, 7, 30)
_CLOSED = 50
_MOST_WORKS = 6


def _page(request: HttpRequest, name: str, title: str, **context: Any) -> HttpResponse:
    everywhere = {**admin.site.each_context(request), "title": title, "picture": name}
    return render(request, f"inference/pictures/{name}.html", {**everywhere, **context})


@require_GET
def latency_page(request: HttpRequest) -> HttpResponse:
    """Latency over time per browser, and browsers compared, on the same work of one model."""
    models = list(OnnxModel.objects.all())
    wanted = request.GET.get("model", "")
    model = next((one for one in models if one.name == wanted), models[0] if models else None)
    days = _number(request.GET.get("days"), 7)
    context: dict[str, Any] = {
        "models": models, "model": model, "days": days, "choices": _DAYS, "most": _MOST_WORKS,
    }  # fmt: skip
    if model is not None:
        age, lines = answers.timelines(model_name=model.name, days=days)
        compared = answers.compare(model.model_type, model.name)
        context |= {
            "age": age,
            "works": works_over_time(lines)[:_MOST_WORKS],
            "comparisons": compared_works(compared["works"])[:_MOST_WORKS],
            "history_days": settings.WEBPOOL_HISTORY_DAYS,
        }
    return _page(request, "latency", "Latency", **context)


@require_GET
def scores_page(request: HttpRequest) -> HttpResponse:
    """Capability scores as a heat map, recommendations with their evidence."""
    scores = list(CapabilityScore.objects.all())
    known = {score.browser for score in scores}
    browsers = sorted(known | set(Browser.objects.values_list("kind", flat=True)))
    recommendations = [
        {
            "row": row,
            "plot": intervals.draw(evidence(row.config), name=f"evidence-{row.pk}", unit="× best"),
        }
        for row in BrowserRecommendation.objects.all()
    ]
    return _page(
        request,
        "scores",
        "Scores and recommendations",
        scores=scores,
        heat=heatmap.draw(scores, browsers, ModelType.values) if browsers else "",
        recommendations=recommendations,
    )


@require_GET
def regressions_page(request: HttpRequest) -> HttpResponse:
    """Builds that made something slower: open ones, and those that were mended."""
    return _page(
        request,
        "regressions",
        "Regressions",
        open=Regression.objects.filter(closed_at=None),
        closed=Regression.objects.exclude(closed_at=None)[:_CLOSED],
    )


def _number(given: str | None, default: int) -> int:
    """A whole number from the address, or the default where there is none."""
    return int(given) if given and given.isdecimal() and len(given) < 5 else default
