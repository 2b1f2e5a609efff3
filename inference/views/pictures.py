"""/admin/pictures/…: history as pictures, drawn on the server."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from browsers.models import Browser
from history import answers
from history.charts import heatmap, intervals
from history.charts.pictures import compared_works, evidence, works_over_time
from history.models import BrowserRecommendation, CapabilityScore, Regression
from inference.documents import JsonObject
from inference.models import ModelType, OnnxModel

_DAYS = (1, 7, 30)
_CLOSED = 50
_MOST_REGRESSIONS = 200
_MOST_WORKS = 6
_MOST_NAMES = 1000
_ON_A_PAGE = 20


def _page(request: HttpRequest, name: str, title: str, **context: object) -> HttpResponse:
    everywhere = {**admin.site.each_context(request), "title": title, "picture": name}
    return render(request, f"inference/pictures/{name}.html", {**everywhere, **context})


@require_GET
def latency_page(request: HttpRequest) -> HttpResponse:
    """Latency over time per browser, and browsers compared, on the same work of one model."""
    models = OnnxModel.objects.defer("summary").order_by("name")
    wanted = request.GET.get("model", "").strip()
    model = models.filter(name=wanted).first() if wanted else models.first()
    days = _number(request.GET.get("days"), 7)
    context: JsonObject = {
        "names": models.values_list("name", flat=True)[:_MOST_NAMES], "model": model,
        "wanted": wanted or (model.name if model else ""), "days": days, "choices": _DAYS,
        "most": _MOST_WORKS,
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
    page = _page(request, "latency", "Latency", **context)
    page.status_code = 404 if wanted and model is None else 200
    return page


@require_GET
def scores_page(request: HttpRequest) -> HttpResponse:
    """Capability scores as a heat map, recommendations with their evidence."""
    scores = list(CapabilityScore.objects.all())
    known = {score.browser for score in scores}
    browsers = sorted(known | set(Browser.objects.values_list("kind", flat=True)))
    wanted = request.GET.get("model", "").strip()
    rows = BrowserRecommendation.objects.filter(model_name__icontains=wanted)
    page = Paginator(rows, _ON_A_PAGE).get_page(request.GET.get("page"))
    page.object_list = [
        {
            "row": row,
            "chart": intervals.draw(evidence(row.config), name=f"evidence-{row.pk}", unit="× best"),
        }
        for row in page.object_list
    ]
    return _page(
        request,
        "scores",
        "Scores and recommendations",
        scores=scores,
        heat=heatmap.draw(scores, browsers, ModelType.values) if browsers else "",
        recommendations=page,
        wanted=wanted,
    )


@require_GET
def regressions_page(request: HttpRequest) -> HttpResponse:
    """Builds that made something slower: open ones, and those that were mended."""
    return _page(
        request,
        "regressions",
        "Regressions",
        open=Regression.objects.filter(closed_at=None)[:_MOST_REGRESSIONS],
        closed=Regression.objects.exclude(closed_at=None)[:_CLOSED],
        most=_MOST_REGRESSIONS,
    )


def _number(given: str | None, default: int) -> int:
    """A whole number above 0 from the address, or the default where there is none."""
    found = int(given) if given and given.isdecimal() and len(given) < 5 else 0
    return found or default
