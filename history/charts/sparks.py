"""A few values in order of time, small enough for a table; where the build changed there is a line."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from django.utils.safestring import SafeString

from history.charts import svg
from webpool_site.telling.units import number

_WIDTH: Final = 150
_HEIGHT: Final = 36
_EDGE: Final = 5


@dataclasses.dataclass(frozen=True)
class Spark:
    """`value` None: nothing was measured then."""

    when: str
    build: str
    value: float | None
    good: bool


def draw(sparks: Sequence[Spark], *, name: str, unit: str) -> SafeString:
    """From zero upwards, evenly spaced; empty where fewer than two were measured."""
    known = [spark.value for spark in sparks if spark.value is not None]
    if len(known) < 2:
        return svg.EMPTY
    x = svg.Scale(0, len(sparks) - 1, _EDGE, _WIDTH - _EDGE)
    y = svg.Scale(0.0, max(known) or 1.0, _HEIGHT - _EDGE, _EDGE)
    parts: list[SafeString] = []
    for at in range(1, len(sparks)):
        before, here = sparks[at - 1], sparks[at]
        if before.build != here.build:
            middle = x(at - 0.5)
            title = f"build {before.build or 'unknown'} → {here.build or 'unknown'}"
            parts.append(svg.line(middle, 0, middle, _HEIGHT, "hp-change", title))
        if before.value is not None and here.value is not None:
            parts.append(svg.line(x(at - 1), y(before.value), x(at), y(here.value), "hp-spark"))
    for at, spark in enumerate(sparks):
        if spark.value is not None:
            kind = "hp-point" if spark.good else "hp-point hp-bar-bad"
            title = f"{number(spark.value, unit)}, {spark.when}, build {spark.build or 'unknown'}"
            parts.append(svg.circle(x(at), y(spark.value), 2.5, kind, title))
    about = f"{len(known)} medians over time, the last {number(known[-1], unit)}"
    return svg.picture(name, _WIDTH, _HEIGHT, about, parts)
