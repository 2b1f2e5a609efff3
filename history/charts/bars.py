"""Medians as bars from zero with their intervals: how much longer one takes is seen as length.

Names and values are words of the page, so that they break and keep their size on any screen; a bar is a
picture as wide as its place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from django.utils.html import format_html
from django.utils.safestring import SafeString

from history.charts import svg
from webpool_site.telling.units import milliseconds

_WIDTH: Final = 100
_HEIGHT: Final = 20
_THICK: Final = 14
_SHARES: Final = (0.25, 0.5, 0.75, 1.0)


@dataclasses.dataclass(frozen=True)
class Bar:
    """`middle` None: nothing was measured, and `remark` says why. An end that is None is not bounded."""

    name: str
    middle: float | None
    low: float | None
    high: float | None
    remark: str
    good: bool = True


def draw(bars: Sequence[Bar], *, name: str) -> SafeString:
    """Times in ms: a row each, in the given order, on one axis from zero; empty without bars."""
    if not bars:
        return svg.EMPTY
    longest = max((bar.high or bar.middle or 0.0 for bar in bars), default=0.0) or 1.0
    x = svg.Scale(0.0, longest, 0.0, _WIDTH - 1)
    return format_html(
        '<div id="{}" class="hp-bars">{}<p class="hp-bar-axis wp-dim">bars from 0 to {}</p></div>',
        *(name, svg.join([_row(bar, x) for bar in bars]), milliseconds(longest)),
    )


def _row(bar: Bar, x: svg.Scale) -> SafeString:
    if bar.middle is None:
        return format_html(
            '<div class="hp-bar-row"><strong>{}</strong><span class="hp-bar-why wp-dim">{}</span></div>',
            *(bar.name, bar.remark),
        )
    middle = milliseconds(bar.middle)
    span = (
        "no interval: too few runs"
        if bar.low is None and bar.high is None
        else f"{milliseconds(bar.low)} to {milliseconds(bar.high)}"
    )
    return format_html(
        '<div class="hp-bar-row"><strong>{}</strong>{}<span><strong>{}</strong> '
        '<span class="wp-dim">{}{}</span></span></div>',
        *(bar.name, _bar(bar, bar.middle, x, f"{bar.name}: {middle}, {span}"), middle, span),
        "" if bar.good else f", {bar.remark}",
    )


def _bar(bar: Bar, middle: float, x: svg.Scale, about: str) -> SafeString:
    y = _HEIGHT / 2
    parts = [
        svg.line(x(x.high * share), 0, x(x.high * share), _HEIGHT, "hp-grid") for share in _SHARES
    ]
    kind = "hp-bar" if bar.good else "hp-bar hp-bar-bad"
    parts.append(svg.rect(0, y - _THICK / 2, max(x(middle), 0.2), _THICK, kind, about, rounded=0))
    low, high = (middle if end is None else end for end in (bar.low, bar.high))
    parts.append(svg.line(x(low), y, x(high), y, "hp-whisker"))
    parts += [
        svg.line(x(end), y - 5, x(end), y + 5, "hp-whisker")
        for end in (bar.low, bar.high)
        if end is not None
    ]
    return format_html(
        '<svg class="hp-bar-place" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        "{}</svg>",
        *(_WIDTH, _HEIGHT, about, svg.join(parts)),
    )
