"""How many bytes values take as a model's tensors, told by how many they are: before any tensor is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

import numpy as np

_OBJECT_BYTES: Final = 8  # of each value that is no tensor's, whatever it is
_TEXT_BYTES: Final = 64  # of each text, beside its letters: what Python makes of it


@dataclasses.dataclass(frozen=True)
class Count:
    """What came for one input: how many values, and their bytes in the form in which they came."""

    values: int
    nbytes: int = 0


def tensor_bytes(dtype: str | None, count: Count) -> int:
    """As they came, or as a tensor of that type, whichever is more; None: they are no tensor."""
    if dtype is None:
        return max(count.nbytes, count.values * _OBJECT_BYTES)
    if dtype == "string":
        return count.nbytes + _TEXT_BYTES * count.values
    return max(count.nbytes, count.values * np.dtype(dtype).itemsize)


def sent_bytes(given: Mapping[str, Count], types: Mapping[str, str]) -> int:
    """All that came, as tensors; `types`: ONNX type by name of the inputs that the model has."""
    return sum(tensor_bytes(types.get(name), count) for name, count in given.items())


def filled_bytes(
    given: Mapping[str, Count], types: Mapping[str, str], like: Mapping[str, str]
) -> int:
    """All that is filled in for inputs that did not come; `like`: the input whose shape each of them gets."""
    return sum(
        tensor_bytes(types[name], Count(given[source].values))
        for name, source in like.items()
        if name not in given and source in given
    )
