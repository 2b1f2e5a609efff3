"""The words for a value that a port cannot take: what was expected, what came, and where it is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from inference.errors import InvalidRequest

_MOST_SHOWN = 60  # characters of a value
_MOST_BITS = 1100  # of an integer that is written out: the largest float64 has 1024
_NAMES: Mapping[type, str] = {
    type(None): "null",
    dict: "an object",
    list: "a list",
    tuple: "a tuple",
}


def refused(
    name: str, expected: str, value: object, at: tuple[int, ...], why: str
) -> InvalidRequest:
    """The error for an input's element; `at` is its position, () for a scalar."""
    place = f" at {list(at)}" if at else ""
    reason = f" ({why})" if why else ""
    return InvalidRequest(f"input {name!r}: expected {expected}; got {shown(value)}{place}{reason}")


def expected(dtype: str) -> str:
    """What a port of this type takes."""
    if dtype == "string":
        return "string: text in UTF-8 without NUL characters"
    kind = np.dtype(dtype).kind
    if kind == "b":
        return "bool: true and false, or 1 and 0"
    if kind in "iu":
        limits = np.iinfo(dtype)
        return f"{dtype}: whole numbers from {limits.min} to {limits.max}"
    return f"{dtype}: numbers of at most {np.finfo(dtype).max:.4g} in size"


def shown(value: object) -> str:
    """A value for a message, however large it is."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        bits = value.bit_length()
        return f"a whole number of {bits} bits" if bits > _MOST_BITS else _cut(str(value))
    if isinstance(value, float):
        return str(float(value))
    if isinstance(value, str | bytes):
        return _cut(repr(value[:_MOST_SHOWN]))
    return _NAMES.get(type(value), f"a value of type {type(value).__name__}")


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"
