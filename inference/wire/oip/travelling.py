"""Tensors on their way from one process to another: what they are, and their bytes as arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from browsers.core.protocol import WireTensor
from inference.documents import Array


@dataclasses.dataclass(frozen=True)
class Travelling:
    """`described`: [name, type, shape] of each; `arrays`: its bytes, by its number."""

    described: list[list[object]] | None
    arrays: dict[str, Array]


def travelling(tensors: Iterable[WireTensor]) -> Travelling:
    described: list[list[object]] = []
    arrays: dict[str, Array] = {}
    for number, tensor in enumerate(tensors):
        described.append([tensor.name, tensor.dtype, list(tensor.shape)])
        arrays[str(number)] = np.frombuffer(tensor.data, np.uint8)
    return Travelling(described, arrays)


def arrived(
    described: Sequence[tuple[str, str, Sequence[int]]], arrays: Mapping[str, Array]
) -> list[WireTensor]:
    return [
        WireTensor(name, dtype, tuple(shape), arrays[str(number)].data)
        for number, (name, dtype, shape) in enumerate(described)
    ]
