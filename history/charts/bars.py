"""Medians as bars from zero with their intervals: how much longer one takes is seen as length."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from django.utils.safestring import SafeString

from history.charts import svg
from webpool_site.telling.units import number

_WIDTH: Final = 960
_ROW: Final = 28
_LEFT: Final = 190
_RIGHT: Final = 230
_THICK: Final = 14


@dataclasses.dataclass(frozen=True)
class Bar:
    """`middle` None: nothing was measured, and `remark` says why. An end that is None is not bounded."""

    name: str
    middle: float | None
    low: float | None
    high: float | None
    remark: str
    good: bool = True


def draw(bars: Sequence[Bar], *, name: str, unit: str) -> SafeString:
    """A bar each, in the given order, on one axis from zero; empty without bars."""
    if not bars:
        return svg.EMPTY
    longest = max((bar.high or bar.middle or 0.0 for bar in bars), default=0.0) or 1.0
    x = svg.Scale(0.0, longest * 1.02, _LEFT, _WIDTH - _RIGHT)
    bottom = len(bars) * _ROW + 6
    parts = [svg.line(_LEFT, 2, _LEFT, bottom, "hp-grid")]
    for share in (0.25, 0.5, 0.75, 1.0):
        at = x(longest * share)
        parts.append(svg.line(at, 2, at, bottom, "hp-grid"))
        label = number(longest * share, unit)
        parts.append(svg.text(at, bottom + 13, label, kind="hp-dim", anchor="middle"))
    for at, bar in enumerate(bars):
        parts += _bar(bar, x, at * _ROW + _ROW / 2 + 2, unit)
    return svg.picture(name, _WIDTH, bottom + 20, f"{len(bars)} medians compared, in {unit}", parts)


def _bar(bar: Bar, x: svg.Scale, y: float, unit: str) -> list[SafeString]:
    parts = [svg.text(_LEFT - 12, y + 4, bar.name, kind="hp-name", anchor="end")]
    if bar.middle is None:
        return [*parts, svg.text(_LEFT + 8, y + 4, bar.remark, kind="hp-dim")]
    title = f"{bar.name}: {number(bar.middle, unit)}"
    kind = "hp-bar" if bar.good else "hp-bar hp-bar-bad"
    parts.append(svg.rect(_LEFT, y - _THICK / 2, x(bar.middle) - _LEFT, _THICK, kind, title))
    low, high = (bar.middle if end is None else end for end in (bar.low, bar.high))
    span = f"{number(bar.low, unit)} to {number(bar.high, unit)}"
    parts.append(svg.line(x(low), y, x(high), y, "hp-whisker", span))
    parts += [
        svg.line(x(end), y - 5, x(end), y + 5, "hp-whisker")
        for end in (bar.low, bar.high)
        if end is not None
    ]
    parts.append(svg.text(_WIDTH - _RIGHT + 14, y + 4, f"{number(bar.middle, unit)}  {bar.remark}"))
    return parts
