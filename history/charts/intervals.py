"""Medians with their intervals, one row per arm: what differs and what does not is seen at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from django.utils.safestring import SafeString

from history.charts import svg
from webpool_site.telling.units import number

_WIDTH, _ROW, _LEFT, _RIGHT = 960, 30, 250, 250


@dataclasses.dataclass(frozen=True)
class Row:
    """`middle` with its interval, or None where too little is known; `remark` is written beside it."""

    name: str
    samples: int
    middle: float | None
    low: float | None
    high: float | None
    remark: str


def draw(rows: Sequence[Row], *, name: str, unit: str) -> SafeString:
    """A row each, in the given order, on one logarithmic axis; empty without rows."""
    if not rows:
        return svg.EMPTY
    known = [value for row in rows for value in (row.low, row.middle, row.high) if value]
    low, high = (min(known) / 1.1, max(known) * 1.1) if known else (1.0, 2.0)
    x = svg.Scale(low, high, _LEFT, _WIDTH - _RIGHT, logarithmic=True)
    bottom = len(rows) * _ROW + 6
    parts: list[SafeString] = []
    for tick in svg.ticks(low, high) if known else ():
        parts.append(svg.line(x(tick), 4, x(tick), bottom, "hp-grid"))
        label = number(tick, unit)
        parts.append(svg.text(x(tick), bottom + 13, label, kind="hp-dim", anchor="middle"))
    for at, row in enumerate(rows):
        parts += _row(row, x, at * _ROW + _ROW / 2 + 4, unit)
    return svg.picture(name, _WIDTH, bottom + 20, f"{len(rows)} compared, in {unit}", parts)


def _row(row: Row, x: svg.Scale, y: float, unit: str) -> list[SafeString]:
    parts = [
        svg.text(
            _LEFT - 14, y + 4, f"{row.name} · n = {row.samples}", kind="hp-name", anchor="end"
        ),
        svg.text(_WIDTH - _RIGHT + 14, y + 4, row.remark),
    ]
    if row.middle is None or row.low is None or row.high is None:
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        return [
            *parts,
            svg.text(middle, y + 4, "unknown", kind="hp-dim hp-unknown", anchor="middle"),
        ]
    title = (
        f"{number(row.middle, unit)}, 95 % interval {number(row.low)} to "
        f"{number(row.high)}, n = {row.samples}"
    )
    parts.append(svg.line(x(row.low), y, x(row.high), y, "hp-interval", title))
    parts += [svg.line(x(end), y - 5, x(end), y + 5, "hp-interval") for end in (row.low, row.high)]
    parts.append(svg.circle(x(row.middle), y, 5, "hp-middle", title))
    return parts
