"""Which Python values, and which numpy arrays, a numeric type holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from inference.documents import Array, DType

Why = Callable[[object], str | None]

NOT_IN_JSON = (
    "JSON has neither NaN nor infinity, and a number larger than any float64 is read as one; binary tensors, "
    "npz and Parquet have both"
)


def rule(target: DType, *, json: bool) -> Why:
    """What the type has against a Python value: None, it holds it; empty, the range or the kind says it."""
    if target.kind == "b":
        return _why_no_bool
    if target.kind in "iu":
        return lambda item: _why_no_integer(item, target)
    return lambda item: _why_no_float(item, target, json=json)


def from_python(flat: Sequence[Any], target: DType, *, json: bool) -> Array | None:
    """The values as a flat array of that type; None: the rule has something against one of them."""
    kinds = set(map(type, flat))
    if target.kind == "f":
        return _floats(flat, target, kinds, json=json)
    if target.kind in "iu" and kinds <= {int}:
        limits = np.iinfo(target)
        fits = not flat or (limits.min <= min(flat) and max(flat) <= limits.max)
    else:
        fits = target.kind == "b" and all(_why_no_bool(item) is None for item in flat)
    return np.array(flat, target) if fits else None


def from_array(array: Array, target: DType) -> Array | None:
    """The same array of that type where numpy alone can tell that every value stays what it is, else None."""
    kinds = array.dtype.kind + target.kind
    if array.dtype == target or (kinds in ("ii", "iu", "ui", "uu") and _within(array, target)):
        return array.astype(target, copy=False)
    if kinds in ("if", "uf"):
        most = _whole_up_to(target)
        fits = not array.size or (-most <= int(array.min()) and int(array.max()) <= most)
        return array.astype(target) if fits else None
    if kinds == "ff":
        with np.errstate(over="ignore"):
            cast = array.astype(target)
        return cast if bool((np.isfinite(cast) | ~np.isfinite(array)).all()) else None
    return None


def _within(array: Array, target: DType) -> bool:
    limits = np.iinfo(target)
    return not array.size or (limits.min <= int(array.min()) and int(array.max()) <= limits.max)


def _why_no_bool(item: object) -> str | None:
    return None if type(item) is bool or (type(item) is int and item in (0, 1)) else ""


def _why_no_integer(item: object, target: DType) -> str | None:
    if type(item) is float:
        return "a float, not an integer"
    limits = np.iinfo(target)
    return None if type(item) is int and limits.min <= item <= limits.max else ""


# --- floats ------------------------------------------------------------------------


def _floats(flat: Sequence[Any], target: DType, kinds: set[type], *, json: bool) -> Array | None:
    if not kinds <= {int, float}:
        return None
    most = _whole_up_to(target)
    if int in kinds and any(
        type(item) is int and abs(item) > most and not _holds_whole(item, target, json=json)
        for item in flat
    ):
        return None
    wide = np.array(flat, np.float64)
    with np.errstate(over="ignore"):
        cast = wide.astype(target)
    finite = np.isfinite(cast)
    return cast if bool((finite if json else finite | ~np.isfinite(wide)).all()) else None


def _why_no_float(item: Any, target: DType, *, json: bool) -> str | None:
    if type(item) is int:
        if _holds_whole(item, target, json=json):
            return None
        rounded = _rounded(item, target)
        if rounded is None:
            return ""
        return (
            f"{target.name} does not hold this whole number; the nearest it holds is {int(rounded)}"
        )
    if type(item) is not float:
        return ""
    if not math.isfinite(item):
        return NOT_IN_JSON if json else None
    return None if _rounded(item, target) is not None else ""


def _whole_up_to(target: DType) -> int:
    """The type holds every whole number up to this size."""
    return 1 << (int(np.finfo(target).nmant) + 1)


def _holds_whole(number: int, target: DType, *, json: bool) -> bool:
    """Whether the type has this whole number, or, in JSON, a float that is written with its digits."""
    rounded = _rounded(number, target)
    if rounded is None or int(rounded) == number:
        return rounded is not None
    return json and str(number) in (_digits(rounded), _digits(np.float64(rounded)))


def _rounded(number: float, target: DType) -> Any:
    """The nearest float of the type; None: it would be infinite."""
    try:
        with np.errstate(over="ignore"):
            rounded = np.float64(number).astype(target)
    except OverflowError:
        return None
    return rounded if np.isfinite(rounded) else None


def _digits(number: float) -> str:
    """The fewest digits that mean this float of its type and no other, written without an exponent."""
    return np.format_float_positional(number, unique=True, trim="-")
