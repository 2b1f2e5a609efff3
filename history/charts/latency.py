"""Latency over time: a strip per arm, with anomalies ringed and change points drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC

import numpy as np
from django.utils.safestring import SafeString

from history.answers import Line
from history.charts import svg
from history.core.anomalies import LEAST_SAMPLES, outliers
from history.core.changepoints import ChangePoint, change_points_of
from history.core.series import Arm, Floats
from webpool_site.telling.units import number

_WIDTH, _STRIP, _LEFT, _RIGHT, _TOP = 960, 118, 64, 18, 22


@dataclasses.dataclass(frozen=True)
class Strip:
    """One arm's measurements in order of time: `at_s` Unix times, `latencies_ms` above zero, its builds."""

    name: str
    at_s: Floats
    latencies_ms: Floats
    builds: Sequence[str | None]


def strip_of(line: Line) -> Strip:
    """A line of history; its times are UTC without saying so."""
    at_s = np.array([at.replace(tzinfo=UTC).timestamp() for at in line.times])
    arm = str(Arm(line.browser, line.platform, line.software))
    return Strip(arm, at_s, line.latencies_ms, line.builds)


def draw(strips: Sequence[Strip], *, name: str) -> SafeString:
    """All strips on the same axes of time and (logarithmic) latency; empty without a measurement."""
    shown = [strip for strip in strips if strip.latencies_ms.size]
    if not shown:
        return svg.EMPTY
    all_ms = np.concatenate([strip.latencies_ms for strip in shown])
    low, high = float(all_ms.min()) / 1.15, float(all_ms.max()) * 1.15
    first = min(float(strip.at_s.min()) for strip in shown)
    last = max(float(strip.at_s.max()) for strip in shown)
    x = svg.Scale(first, last, _LEFT, _WIDTH - _RIGHT)
    changes = change_points_of([strip.latencies_ms for strip in shown])
    parts: list[SafeString] = []
    for at, strip in enumerate(shown):
        top = at * _STRIP
        y = svg.Scale(low, high, top + _STRIP - 8, top + _TOP, logarithmic=True)
        parts += _strip(strip, changes[at], x, y, top)
    bottom = len(shown) * _STRIP
    span = last - first
    parts += [
        svg.text(x(at_s), bottom + 12, svg.moment(at_s, span), kind="hp-dim", anchor="middle")
        for at_s in svg.times(first, last)[1:-1]
    ]
    about = f"Latency over time of {', '.join(strip.name for strip in shown)}"
    return svg.picture(name, _WIDTH, bottom + 20, about, parts)


def _strip(
    strip: Strip, changes: Sequence[ChangePoint], x: svg.Scale, y: svg.Scale, top: float
) -> list[SafeString]:
    size = strip.latencies_ms.size
    median = float(np.median(strip.latencies_ms))
    heading = f"{strip.name} · n = {size} · median {number(median, 'ms')}"
    if size < 2 * LEAST_SAMPLES:
        heading += f" · fewer than {2 * LEAST_SAMPLES} samples: anomalies are not known"
    parts = [svg.text(_LEFT, top + 13, heading, kind="hp-name")]
    for tick in svg.ticks(y.low, y.high):
        parts.append(svg.line(_LEFT, y(tick), _WIDTH - _RIGHT, y(tick), "hp-grid"))
        label = number(tick, "ms")
        parts.append(svg.text(_LEFT - 6, y(tick) + 3, label, kind="hp-dim", anchor="end"))
    odd = set(outliers(strip.latencies_ms))
    for at in range(size):
        when, ms = float(strip.at_s[at]), float(strip.latencies_ms[at])
        title = (
            f"{number(ms, 'ms')}, {svg.moment(when, 0)} UTC, build {strip.builds[at] or 'unknown'}"
        )
        parts.append(svg.circle(x(when), y(ms), 2.2, "hp-point", title))
        if at in odd:
            parts.append(svg.circle(x(when), y(ms), 5, "hp-anomaly", f"anomaly: {title}"))
    for change in changes:
        at_x = x(float(strip.at_s[change.index]))
        title = f"× {change.ratio:.2f}, p = {number(change.p_value)}"
        parts.append(svg.line(at_x, top + _TOP - 4, at_x, top + _STRIP - 8, "hp-change", title))
        parts.append(
            svg.text(at_x + 4, top + _TOP + 6, f"× {change.ratio:.2f}", kind="hp-change-text")
        )
    return parts
