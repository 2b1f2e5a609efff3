"""A comparison found a place worse than before: an incident of its browser; told where nobody watches."""

from __future__ import annotations

import logging

from browsers.core.failures import Category
from browsers.models import Browser, Incident
from history import announcing
from inference.documents import JsonObject, JsonView
from inference.models import Comparison

log = logging.getLogger(__name__)
_PLACE = ("browser", "kind", "backend", "strategy")


def incidents(comparison: Comparison, document: JsonView) -> list[Incident]:
    """One for each browser's cell that is worse (unsaved); of a browser that is gone: none."""
    there = set(Browser.objects.values_list("pk", flat=True))
    page = f"/admin/inference/comparison/{comparison.pk}/change/"
    found = []
    for place, sentence in _worsened(document):
        if (browser := place["browser"]) in there:
            message = f"{comparison.model.name}: {sentence}"
            found.append(
                Incident(
                    browser_id=browser, category=Category.REGRESSION, message=message, page=page
                )
            )
    return found


def tell(comparison: Comparison, document: JsonView) -> None:
    """Log and post what a schedule's comparison found worse, if anything; it is written down already."""
    worsened = [_place(place) for place, _ in _worsened(document)]
    if not comparison.scheduled or not worsened:
        return
    told: JsonObject = {
        "state": "open",
        "comparison": document["id"],
        "model_name": document["model"],
        "worse": [
            {name: cell[name] for name in (*_PLACE, "version", "before", "state", "reason")}
            for cell in document["cells"]
            if _place(cell) in worsened
        ],
        "said": document["worsened"],
    }
    log.warning("%s: worse than before: %s", comparison, " ".join(document["worsened"]))
    announcing.post(told, f"comparison {document['id']}")


def _worsened(document: JsonView) -> list[tuple[JsonView, str]]:
    """Each worse place with its sentence; where all became slower alike nothing is said of a browser."""
    places = [*document["worse"], *document["slower"]]
    told = list(zip(places, document["worsened"], strict=False))
    return told[: len(document["worse"])] if document["slower_everywhere"] else told


def _place(told: JsonView) -> tuple[str, ...]:
    return tuple(told[name] for name in _PLACE)
