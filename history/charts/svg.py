"""Scales, axes and elements that the pictures share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from datetime import UTC, datetime

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

EMPTY: SafeString = mark_safe("")


@dataclasses.dataclass(frozen=True)
class Scale:
    """From values between `low` and `high` to pixels between `start` and `end`; logarithmic if asked."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(value)
        share = 0.5 if high == low else (at - low) / (high - low)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float) -> list[float]:
    """Round values (1, 2, 5 × 10ⁿ) within a logarithmic range, at most about six."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found = [m * 10.0**n for n in range(first, last + 1) for m in (1, 2, 5)]
    inside = [tick for tick in found if low <= tick <= high]
    while len(inside) > 6:
        inside = inside[::2]
    return inside


def times(first: float, last: float, count: int = 5) -> list[float]:
    """Evenly spread Unix times."""
    if last <= first:
        return [first]
    return [first + (last - first) * at / (count - 1) for at in range(count)]


def moment(at_s: float, span_s: float) -> str:
    """A Unix time in UTC, as finely as the span needs."""
    form = "%H:%M:%S" if span_s < 6 * 3600 else "%d %b %H:%M" if span_s < 3 * 86400 else "%d %b"
    return datetime.fromtimestamp(at_s, UTC).strftime(form)


def clock(at_s: float) -> str:
    """Hour and minute of a Unix time in UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M")


def text(x: float, y: float, words: str, *, kind: str = "", anchor: str = "start") -> SafeString:
    return format_html(
        '<text x="{}" y="{}" text-anchor="{}" class="hp-text {}">{}</text>',
        *(_px(x), _px(y), anchor, kind, words),
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str, title: str = "") -> SafeString:
    return format_html(
        '<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}">{}</line>',
        *(_px(x1), _px(y1), _px(x2), _px(y2), kind, _title(title)),
    )


def circle(x: float, y: float, radius: float, kind: str, title: str) -> SafeString:
    return format_html(
        '<circle cx="{}" cy="{}" r="{}" class="{}">{}</circle>',
        *(_px(x), _px(y), radius, kind, _title(title)),
    )


def rect(
    x: float, y: float, width: float, height: float, kind: str, title: str, *, rounded: float = 3
) -> SafeString:
    return format_html(
        '<rect x="{}" y="{}" width="{}" height="{}" rx="{}" class="{}">{}</rect>',
        *(_px(x), _px(y), _px(width), _px(height), rounded, kind, _title(title)),
    )


def join(parts: Sequence[SafeString]) -> SafeString:
    return format_html_join("", "{}", ((part,) for part in parts))


def picture(
    name: str, width: float, height: float, about: str, parts: Sequence[SafeString]
) -> SafeString:
    """The whole; `about` is what a reader who sees no picture is told."""
    return format_html(
        '<svg id="{}" class="hp-picture" width="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>',
        *(name, _px(width), _px(width), _px(height), about, join(parts)),
    )


def _title(words: str) -> SafeString:
    return format_html("<title>{}</title>", words) if words else EMPTY


def _px(value: float) -> str:
    return f"{value:.1f}"
