"""Nested lists as their elements in C order, and their shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from inference.documents import Array
from inference.errors import InvalidRequest

MAX_RANK = 32
_TEXT = (str, bytes, bytearray, memoryview)


@dataclasses.dataclass(frozen=True)
class Nested:
    """Elements in C order, and the shape in which they came.

    Attributes:
        start: how many elements came before those in `flat`.
    """

    flat: list[object]
    shape: tuple[int, ...]
    start: int = 0

    def position(self, index: int) -> tuple[int, ...]:
        """Where element `index` of `flat` is; () for a scalar."""
        return tuple(int(axis) for axis in np.unravel_index(self.start + index, self.shape))


def flattened(name: str, value: object) -> Nested:
    """The elements of a scalar, of nested sequences, or of sequences of arrays.

    Raises:
        InvalidRequest: the lists of one level differ in length, or lie too deep.
    """
    level = [_opened(name, value)]
    shape: tuple[int, ...] = ()
    while level and (size := _common_length(name, level, shape)) is not None:
        if len(shape) == MAX_RANK:
            raise InvalidRequest(
                f"input {name!r}: expected lists nested at most {MAX_RANK} deep, got deeper ones"
            )
        shape = (*shape, size)
        level = list(chain.from_iterable(level))
        if any(map(_opens, set(map(type, level)))):
            level = [_opened(name, item) for item in level]
    return Nested(level, shape)


def array_from(name: str, value: object) -> Array:
    """The numpy array that an array of another library becomes.

    Raises:
        InvalidRequest: it does not, such as one that lies on another device.
    """
    try:
        return np.asarray(value)
    except Exception as error:  # whatever the library that made it raises
        raise InvalidRequest(
            f"input {name!r}: expected a numpy array or nested lists, got a {type(value).__name__} that "
            f"does not become an array: {error}"
        ) from error


def is_array(kind: type) -> bool:
    """Whether values of this type are arrays, of numpy or of a library that converts to it."""
    return hasattr(kind, "__array__") and not issubclass(kind, np.generic)


def _opens(kind: type) -> bool:
    return issubclass(kind, np.generic) or is_array(kind)


def _opened(name: str, item: Any) -> Any:
    """Numpy's scalars and arrays as plain Python values; anything else, and times, as they are.

    `item` makes a bare number of a time in nanoseconds.
    """
    if isinstance(item, np.generic):
        return item if isinstance(item, np.datetime64 | np.timedelta64) else item.item()
    return array_from(name, item).tolist() if is_array(type(item)) else item


def _is_list(kind: type) -> bool:
    return issubclass(kind, Sequence) and not issubclass(kind, _TEXT)


def _common_length(name: str, level: list[Any], shape: tuple[int, ...]) -> int | None:
    """The length that all items of a level share as lists; None: none of them is one.

    Raises:
        InvalidRequest: they are ragged.
    """
    kinds = {kind: _is_list(kind) for kind in set(map(type, level))}
    if not any(kinds.values()):
        return None
    lengths = [len(item) if kinds[type(item)] else None for item in level]
    first = lengths[0]
    if first is not None and all(length == first for length in lengths):
        return first
    index = next(i for i, length in enumerate(lengths) if length != first)
    raise InvalidRequest(
        f"input {name!r}: the nested lists are ragged: {_told(first)} at "
        f"{list(Nested([], shape).position(0))}, but {_told(lengths[index])} at "
        f"{list(Nested([], shape).position(index))}; expected equal lengths"
    )


def _told(length: int | None) -> str:
    return "a single value" if length is None else f"a list of {length}"
