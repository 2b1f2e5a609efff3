"""What happened minute by minute, in pictures small enough to stand side by side: columns, a line, marks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from django.utils.safestring import SafeString

from history.charts import svg
from webpool_site.telling.units import milliseconds, number

_WIDTH: Final = 400
_LEFT: Final = 46
_RIGHT: Final = 6
_TOP: Final = 8
_TALL: Final = 92
_STRIP: Final = 24
_STRIPS_LEFT: Final = 96
_UNDER: Final = 16
_LONGEST_NAME: Final = 15


@dataclasses.dataclass(frozen=True)
class Span:
    """The time that a picture shows: Unix times in UTC, a whole number of minutes from `first` to `last`."""

    first: float
    last: float

    @property
    def minutes(self) -> int:
        return round((self.last - self.first) / 60)


@dataclasses.dataclass(frozen=True)
class Column:
    """What ended in one minute."""

    good: int = 0
    bad: int = 0


@dataclasses.dataclass(frozen=True)
class Middle:
    """What one minute's work took; None: there was none."""

    median: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Mark:
    """Something at a moment; `good` None: it is not known."""

    at_s: float
    good: bool | None
    title: str


def columns(found: Sequence[Column], span: Span, *, name: str, about: str) -> SafeString:
    """A column per minute from zero, what went wrong on top."""
    most = max((one.good + one.bad for one in found), default=0) or 1
    x, y = _time(span, _LEFT), svg.Scale(0.0, most, _TOP + _TALL, _TOP)
    parts = [*_level(0, y, "0"), *_level(most, y, number(most)), *_times(span, x, _TOP + _TALL)]
    for at, one in enumerate(found):
        left, right = x(span.first + 60 * at), x(span.first + 60 * (at + 1))
        told = f"{_clock(span, at)}: {one.good} succeeded, {one.bad} did not"
        wide = max(right - left - 1, 1.0)
        if one.good:
            top, bottom = y(one.good), y(0)
            parts.append(svg.rect(left, top, wide, bottom - top, "hp-bar", told, rounded=1))
        if one.bad:
            top, bottom = y(one.good + one.bad), y(one.good)
            parts.append(
                svg.rect(left, top, wide, bottom - top, "hp-bar hp-bar-bad", told, rounded=1)
            )
    return svg.picture(name, _WIDTH, _TOP + _TALL + _UNDER, about, parts)


def middles(found: Sequence[Middle], span: Span, *, name: str, about: str) -> SafeString:
    """Times in ms: a point per minute at the median, with a line up to the 95th percentile; from zero."""
    most = max((one.high or one.median or 0.0 for one in found), default=0.0) or 1.0
    x, y = _time(span, _LEFT), svg.Scale(0.0, most, _TOP + _TALL, _TOP)
    parts = [
        *_level(0, y, "0"),
        *_level(most, y, milliseconds(most)),
        *_times(span, x, _TOP + _TALL),
    ]
    for at, one in enumerate(found):
        if one.median is None:
            continue
        middle = x(span.first + 60 * (at + 0.5))
        told = f"{_clock(span, at)}: median {milliseconds(one.median)}"
        if one.high is not None:
            told += f", 95th percentile {milliseconds(one.high)}"
            parts.append(svg.line(middle, y(one.median), middle, y(one.high), "hp-reach", told))
        parts.append(svg.circle(middle, y(one.median), 2.5, "hp-middle", told))
    return svg.picture(name, _WIDTH, _TOP + _TALL + _UNDER, about, parts)


def marks(
    strips: Sequence[tuple[str, Sequence[Mark]]], span: Span, *, name: str, about: str
) -> SafeString:
    """A strip per name with what happened there; a strip without a mark is an empty line."""
    x = _time(span, _STRIPS_LEFT)
    bottom = _TOP + max(len(strips) * _STRIP, _STRIP)
    parts = _times(span, x, bottom)
    for at, (strip, happened) in enumerate(strips):
        y = _TOP + at * _STRIP + _STRIP / 2
        short = strip if len(strip) <= _LONGEST_NAME else f"{strip[: _LONGEST_NAME - 1]}…"
        parts.append(svg.text(_STRIPS_LEFT - 8, y + 4, short, anchor="end"))
        parts.append(svg.line(_STRIPS_LEFT, y, _WIDTH - _RIGHT, y, "hp-grid"))
        for mark in happened:
            kind = {True: "hp-mark-good", False: "hp-mark-bad", None: "hp-mark"}[mark.good]
            parts.append(svg.circle(x(mark.at_s), y, 4, kind, mark.title))
    return svg.picture(name, _WIDTH, bottom + _UNDER, about, parts)


def _time(span: Span, left: float) -> svg.Scale:
    return svg.Scale(span.first, span.last, left, _WIDTH - _RIGHT)


def _level(value: float, y: svg.Scale, words: str) -> list[SafeString]:
    return [
        svg.line(_LEFT, y(value), _WIDTH - _RIGHT, y(value), "hp-grid"),
        svg.text(_LEFT - 6, y(value) + 4, words, kind="hp-dim", anchor="end"),
    ]


def _times(span: Span, x: svg.Scale, bottom: float) -> list[SafeString]:
    """The time at the beginning, in the middle and at the end."""
    places = zip(
        (span.first, (span.first + span.last) / 2, span.last),
        ("start", "middle", "end"),
        strict=True,
    )
    return [
        svg.text(x(at_s), bottom + 13, svg.clock(at_s), kind="hp-dim", anchor=anchor)
        for at_s, anchor in places
    ]


def _clock(span: Span, minute: int) -> str:
    return f"{svg.clock(span.first + 60 * minute)} UTC"
