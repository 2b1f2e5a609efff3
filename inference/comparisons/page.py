"""A comparison as people read it: the part that pages share, and one HTML file that needs no server."""

from __future__ import annotations

from typing import Final

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from history.charts import bars, sparks
from history.charts.bars import Bar
from history.charts.sparks import Spark
from inference.comparisons.report import first_line
from inference.core.comparisons.cells import BAD, CellState
from inference.documents import JsonObject, JsonView

_MEASURED: Final = ("samples_ms", "first_ms", "load_ms", "nodes")


def told(document: JsonView) -> JsonObject:
    """Template context of templates/inference/comparison/part.html."""
    cells = [
        {**cell, "spark": _spark(cell, at), "measured": any(cell[name] for name in _MEASURED)}
        for at, cell in enumerate(document["cells"])
    ]
    cells.sort(key=_is_untried)
    untried = [cell["name"] for cell in cells if _is_untried(cell)]
    return {
        "comparison": {**document, "cells": cells},
        "drawing": drawing(document),
        "untried": untried,
    }


def _is_untried(cell: JsonView) -> bool:
    """They come last: nobody here can run them."""
    return bool(cell["state"] == CellState.UNTRIED)


def _spark(cell: JsonView, at: int) -> SafeString:
    """Earlier medians of the place, and this one's."""
    found = [
        Spark(one["at"][:10], one["version"], one["median_ms"], one["state"] not in BAD)
        for one in cell["earlier"]
    ]
    median = cell["median_ms"]["value"] if cell["median_ms"] else None
    found.append(Spark("now", cell["version"], median, cell["state"] not in BAD))
    return sparks.draw(found, name=f"earlier-{at}", unit="ms")


def drawing(document: JsonView) -> SafeString:
    """A bar per cell that was or will be tried, in the order of the table."""
    return bars.draw(
        [_bar(cell) for cell in document["cells"] if not _is_untried(cell)],
        name=f"bars-{document['id'][:8]}",
    )


def _bar(cell: JsonView) -> Bar:
    median = cell["median_ms"] or {"value": None, "low": None, "high": None}
    remark = cell["state"]
    if cell["median_ms"] is None and cell["reason"]:
        remark += f": {first_line(cell['reason'])[:90]}"
    return Bar(
        cell["name"],
        median["value"],
        median["low"],
        median["high"],
        remark,
        good=cell["state"] not in BAD,
    )


def standalone(document: JsonView) -> str:
    """One file with its pictures and styles inside, light and dark."""
    return render_to_string("inference/comparison/file.html", told(document))
