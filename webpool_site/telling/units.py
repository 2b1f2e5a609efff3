"""Numbers with their units as people read them: one way for pages, pictures and commands.

None is `unknown`, never a zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

UNKNOWN: Final = "unknown"
_KIB: Final = 1024.0


def number(value: float | None, unit: str = "") -> str:
    """About three significant digits, thousands with commas, whole numbers whole: 0.0123, 85.9, 1,235.

    With a `unit` behind it.
    """
    return UNKNOWN if value is None else f"{_digits(value)} {unit}".rstrip()


def _digits(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 100:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.2e}"
    if abs(value) < 1e-4:
        return f"{value:.2e}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")


def milliseconds(value: float | None) -> str:
    """A time given in milliseconds, in the unit that reads best: `0.35 ms`, `1.25 s`, `2 min 5 s`."""
    if value is None:
        return UNKNOWN
    if abs(value) < 1000:
        return f"{number(value if abs(value) < 100 else round(value))} ms"
    if abs(value) < 60_000:
        return f"{number(value / 1000)} s"
    minutes, seconds = divmod(round(value / 1000), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def megabytes(value: float | None) -> str:
    """A size given in MB of 2²⁰ bytes."""
    return UNKNOWN if value is None else size(value * _KIB * _KIB)


def size(count: float | None) -> str:
    """A size given in bytes: `312 bytes`, `1.2 KB`, `86.7 MB`, `1.5 GB`, in powers of 1024."""
    if count is None:
        return UNKNOWN
    if abs(count) < _KIB:
        return f"{number(count)} byte{'' if count == 1 else 's'}"
    value, unit = count / _KIB, "KB"
    for larger in ("MB", "GB", "TB"):
        if abs(value) < _KIB:
            break
        value, unit = value / _KIB, larger
    return f"{number(value if abs(value) < 100 else round(value))} {unit}"


def named(name: str, value: float | None) -> str:
    """A value in the unit that its name tells, as fields and documents have it: `compute_ms`, `bytes_in`."""
    ending = _ending(name)
    if ending:
        return _ENDINGS[ending](value)
    return size(value) if has_unit(name) else number(value)


def has_unit(name: str) -> bool:
    """Whether a name tells the unit of its value."""
    return bool(_ending(name)) or name.startswith("bytes_")


def without_unit(name: str) -> str:
    """The name of a value that is told with its unit: `compute` of `compute_ms`."""
    return name.removesuffix(_ending(name))


def _ending(name: str) -> str:
    return next((one for one in _ENDINGS if name.endswith(one)), "")


def _seconds(value: float | None) -> str:
    return milliseconds(None if value is None else value * 1000)


def _percent(value: float | None) -> str:
    return number(value, "%")


_ENDINGS: Final[Mapping[str, Callable[[float | None], str]]] = {
    "_ms": milliseconds,
    "_mb": megabytes,
    "_bytes": size,
    "_percent": _percent,
    "_s": _seconds,
}
