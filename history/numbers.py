"""Measured values as people read them: on pages, in pictures, in the admin."""

from __future__ import annotations

import math

UNKNOWN = "unknown"
_TINY, _HUGE = 1e-3, 1e9


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits, whole numbers whole, thousands apart: 0.0123, 85.9, 1,235, 2.5e-08.

    With a `unit` behind it. What was not measured is unknown.
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{_digits(float(value))} {unit}".rstrip()


def _digits(value: float) -> str:
    size = abs(value)
    if size == 0:
        return "0"
    if not _TINY <= size < _HUGE:
        return f"{value:.3g}"
    decimals = max(0, 2 - math.floor(math.log10(size)))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text
