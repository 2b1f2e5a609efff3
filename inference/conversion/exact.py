"""One conversion for every door: the array of a port's type that holds exactly what was sent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from browsers.core.protocol import DTYPES
from inference.conversion import numbers, strings
from inference.conversion.nesting import Nested, array_from, flattened, is_array
from inference.conversion.numbers import Why
from inference.conversion.refusal import expected, refused
from inference.documents import Array
from inference.errors import InvalidRequest

_AT_ONCE = 2**16
_KINDS = "biufOUST"  # of numpy: dates, complex numbers and records have no counterpart in ONNX


def array_of(name: str, value: object, dtype: str, *, json: bool = False) -> Array:
    """The input's value as an array of ONNX type `dtype`, in the shape in which it came.

    Args:
        value: nested sequences of Python values, a numpy array, or an array that converts to one.
        json: it was read from JSON, which has no NaN, no infinity, and one kind of number.

    Returns:
        an array of the machine's byte order; strings are an object array of `str`.

    Raises:
        InvalidRequest: a value that the type does not hold, ragged lists, a type that no browser takes. The
            message names the input, what was expected, and the first wrong value with its position.
    """
    if dtype not in DTYPES:
        raise InvalidRequest(
            f"input {name!r}: tensors of type {dtype} cannot be sent to a browser; expected a model whose "
            f"inputs are of {', '.join(DTYPES)}"
        )
    if not is_array(type(value)):
        return _converted(name, flattened(name, value), dtype, json=json)
    array = _checked(name, value)
    if dtype != "string":
        exact = numbers.from_array(array, np.dtype(dtype))
        if exact is not None:
            return exact
    if array.dtype == object and array.size:
        return _converted(name, flattened(name, array.tolist()), dtype, json=json)
    return _in_pieces(name, array, dtype, json=json)


def check_texts(name: str, items: Sequence[str | bytes], shape: tuple[int, ...]) -> None:
    """Refuse elements that a string tensor of that shape cannot have.

    Raises:
        InvalidRequest: names the first, and where it is.
    """
    if any(strings.why_not(item) is not None for item in items):
        raise _first_wrong(name, Nested(list(items), shape), "string", strings.why_not)


def _checked(name: str, value: object) -> Array:
    """The value as a numpy array of numbers, text or objects, none of them masked."""
    array = array_from(name, value)
    if array.dtype.kind not in _KINDS:
        raise InvalidRequest(
            f"input {name!r}: expected an array of numbers, true and false, or text, got {array.dtype}"
        )
    if np.ma.is_masked(value):
        raise InvalidRequest(
            f"input {name!r}: expected a value in each place, got a masked array; fill it first"
        )
    return array


def _converted(name: str, nested: Nested, dtype: str, *, json: bool) -> Array:
    made = _made(nested.flat, dtype, json=json)
    if made is None:
        raise _first_wrong(name, nested, dtype, _why(dtype, json))
    return made.reshape(nested.shape)


def _made(flat: Sequence[object], dtype: str, *, json: bool) -> Array | None:
    """The values as a flat array; None: one of them is not of the type."""
    if dtype == "string":
        return strings.from_python(flat)
    return numbers.from_python(flat, np.dtype(dtype), json=json)


def _why(dtype: str, json: bool) -> Why:
    return strings.why_not if dtype == "string" else numbers.rule(np.dtype(dtype), json=json)


def _in_pieces(name: str, array: Array, dtype: str, *, json: bool) -> Array:
    """By its values, a few at a time: as Python values all of them take many times the array's bytes."""
    flat = array.reshape(-1)
    made = np.empty(flat.shape, object if dtype == "string" else np.dtype(dtype))
    for start in range(0, flat.size, _AT_ONCE):
        values = flat[start : start + _AT_ONCE].tolist()
        piece = _made(values, dtype, json=json)
        if piece is None:
            raise _first_wrong(name, Nested(values, array.shape, start), dtype, _why(dtype, json))
        made[start : start + len(values)] = piece
    return made.reshape(array.shape)


def _first_wrong(name: str, nested: Nested, dtype: str, why: Why) -> InvalidRequest:
    index, reason = next(
        (index, reason)
        for index, item in enumerate(nested.flat)
        if (reason := why(item)) is not None
    )
    return refused(name, expected(dtype), nested.flat[index], nested.position(index), reason)
