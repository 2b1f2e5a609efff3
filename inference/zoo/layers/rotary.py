"""Rotary positions (Su et al. 2021, arXiv:2104.09864), looked up in tables.

Looked up: WebGPU promises little about the accuracy of its own Cos and Sin, and nothing beyond ±π.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inference.documents import Array
from inference.zoo.layers.net import Net


def rates(size: int, base: float) -> Array:
    """Angle per position of each pair of a head's numbers: float32[size / 2]."""
    exponents = np.arange(0, size, 2) / size
    return (base**-exponents).astype(np.float32)


def tables(
    net: Net, positions: int, size: int, turning: Callable[[], Array], suffix: str = ""
) -> list[str]:
    """Cosines and sines by position: [positions, size / 2]; `turning` gives the rates."""
    shape = (positions, size // 2)
    dtype = net.precision.dtype

    def angles() -> Array:
        return np.arange(positions, dtype=np.float32)[:, None] * turning()

    return [
        net.parameter(f"rotary_cos{suffix}", dtype, shape, lambda: np.cos(angles()).astype(dtype)),
        net.parameter(f"rotary_sin{suffix}", dtype, shape, lambda: np.sin(angles()).astype(dtype)),
    ]


def looked_up(net: Net, pair: list[str], places: str) -> tuple[str, str]:
    """Cosines and sines of the places int64[batch, sequence]: [batch, sequence, 1, size]."""
    found = []
    for table in pair:
        half = net.op("Gather", table, places)
        found.append(net.op("Unsqueeze", net.op("Concat", half, half, axis=-1), net.ints(2)))
    return found[0], found[1]


def rotate(net: Net, x: str, rotation: tuple[str, str], size: int) -> str:
    """x[batch, sequence, heads, size], turned. Number i is paired with number i + size/2."""
    cos, sin = rotation
    half = size // 2
    first = net.op("Slice", x, net.ints(0), net.ints(half), net.ints(3))
    second = net.op("Slice", x, net.ints(half), net.ints(size), net.ints(3))
    turned = net.op("Concat", net.op("Neg", second), first, axis=-1)
    return net.op("Add", net.op("Mul", x, cos), net.op("Mul", turned, sin))
