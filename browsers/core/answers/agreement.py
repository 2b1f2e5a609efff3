"""Whether two answers to the same inputs agree: pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from browsers.core.protocol import WireTensor

SINGLE: Final = 1e-4
"""Largest allowed |difference| of float32 and float64, relative to max(1, largest |reference|)."""
HALF: Final = 2e-2
"""The same where a file holds float16, whose numbers may hide behind float32 ports."""
_HUGE: Final = 1e30
_FLOATS: Final = ("float16", "float32", "float64")


def disagreement(
    got: Sequence[WireTensor],
    want: Sequence[WireTensor],
    *,
    tolerance: float,
    least_scale: float = 1.0,
) -> str:
    """Why an answer is not the reference; empty: they agree.

    Equal in names, types and shapes, and in value: integers, booleans and strings exactly, NaN and
    infinities in the same places; floats within `tolerance` (float16: `HALF` at least) of the tensor's
    largest number, or of `least_scale` if that is larger. Numbers that stand for infinity (`_HUGE`) are no
    measure for others.
    """
    if sorted(one.name for one in got) != sorted(one.name for one in want):
        return f"its outputs are {[t.name for t in got]}, expected {[t.name for t in want]}"
    answers = {tensor.name: tensor for tensor in got}
    for reference in want:
        if why := _differs(answers[reference.name], reference, tolerance, least_scale):
            return f"its output {reference.name!r} {why}"
    return ""


def same_bits(got: Sequence[WireTensor], want: Sequence[WireTensor]) -> bool:
    """Whether two answers are the same to the last bit; any NaN is as good as another."""
    return not disagreement(got, want, tolerance=0.0)


def varies(answers: Sequence[Sequence[WireTensor]]) -> frozenset[str]:
    """Names of the outputs that are not the same number throughout all of the answers."""
    seen: dict[str, set[bytes]] = {}
    for answer in answers:
        for tensor in answer:
            seen.setdefault(tensor.name, set()).update(_samples(tensor))
    return frozenset(name for name, values in seen.items() if len(values) > 1)


def _samples(tensor: WireTensor) -> set[bytes]:
    """Up to two different elements, or the whole of a tensor of strings."""
    if tensor.dtype == "string":
        return {bytes(tensor.data)}
    flat = numbers(tensor).ravel()
    if not flat.size:
        return set()
    other = flat[flat != flat[0]][:1]
    return {flat[:1].tobytes(), *([other.tobytes()] if other.size else [])}


def numbers(tensor: WireTensor) -> np.ndarray[Any, Any]:
    """A tensor that is not of strings as a numpy array, over the same bytes."""
    little = np.dtype(tensor.dtype).newbyteorder("<")
    return np.frombuffer(tensor.data, little).reshape(tensor.shape)


def _differs(got: WireTensor, want: WireTensor, tolerance: float, least_scale: float) -> str:
    if (got.dtype, tuple(got.shape)) != (want.dtype, tuple(want.shape)):
        return f"is {got.dtype} {list(got.shape)}, expected {want.dtype} {list(want.shape)}"
    if bytes(got.data) == bytes(want.data):
        return ""
    if want.dtype not in _FLOATS:
        return "has other values"
    return floats_differ(numbers(got), numbers(want), tolerance, least_scale)


def floats_differ(
    got: np.ndarray[Any, Any], want: np.ndarray[Any, Any], tolerance: float, least_scale: float
) -> str:
    """How floats of one shape differ by more than `disagreement` allows; empty: they do not."""
    if tolerance and want.dtype.itemsize == 2:
        tolerance = max(tolerance, HALF)
    one, other = got.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(other)
    if not np.array_equal(one[~finite], other[~finite], equal_nan=True):
        return "is finite where NaN or infinity was expected"
    if not np.isfinite(one[finite]).all():
        return "is not finite where numbers were expected"
    one, other = one[finite], other[finite]
    huge = np.abs(other) >= _HUGE
    scale = max(least_scale, float(np.abs(other[~huge]).max(initial=0.0)))
    off = np.abs(one - other)
    allowed = np.where(huge, tolerance * np.abs(other), tolerance * scale)
    if (off <= allowed).all():
        return ""
    worst = float(off[off > allowed].max())
    return f"is off by {worst:.3g} (values up to {scale:.3g}, allowed {tolerance * scale:.2g})"
