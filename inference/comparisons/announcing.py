"""A comparison that a schedule asked for found a place worse than before: told, for nobody watches."""

from __future__ import annotations

import logging

from history import announcing
from inference.comparisons import report
from inference.documents import JsonObject
from inference.models import Comparison

log = logging.getLogger(__name__)
_PLACE = ("kind", "backend", "strategy")


def tell(comparison: Comparison) -> None:
    """Log and post it, if there is something to tell; what was found is written down already."""
    if not comparison.scheduled:
        return
    document = report.document(comparison)
    if not document["worse"]:
        return
    places = [[place[name] for name in _PLACE] for place in document["worse"]]
    told: JsonObject = {
        "state": "open",
        "comparison": document["id"],
        "model_name": document["model"],
        "worse": [
            {name: cell[name] for name in (*_PLACE, "version", "before", "state", "reason")}
            for cell in document["cells"]
            if [cell[name] for name in _PLACE] in places
        ],
    }
    where = ", ".join(place["name"] for place in document["worse"])
    log.warning("%s: worse than before: %s", comparison, where)
    announcing.post(told, f"comparison {document['id']}")
