"""Where a model's weights come from: a checkpoint, or a seed."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from inference.documents import Array


class Weights(Protocol):
    """Weights by name, in float32."""

    def array(self, name: str, shape: tuple[int, ...], *, mean: float, spread: float) -> Array:
        """The weight `name`; mean and spread say what an untrained one is like."""


class Seeded:
    """Random weights: each depends on the seed, its name and its shape, not on the order they are made."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def array(self, name: str, shape: tuple[int, ...], *, mean: float, spread: float) -> Array:
        random = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
        made = random.standard_normal(shape, dtype=np.float32)
        made *= np.float32(spread)
        made += np.float32(mean)
        return made


class Given:
    """The weights of a checkpoint."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays

    def array(self, name: str, shape: tuple[int, ...], *, mean: float, spread: float) -> Array:
        """The named weight.

        Raises:
            KeyError: the checkpoint lacks it.
            ValueError: it has another shape than the config says.
        """
        found = self._arrays[name]
        if found.shape != shape:
            raise ValueError(f"weight {name!r}: expected shape {shape}, got {found.shape}")
        return found.astype(np.float32, copy=False)


class Recorded:
    """Passes weights on and keeps them by name, as a checkpoint would."""

    def __init__(self, source: Weights) -> None:
        self._source = source
        self.arrays: dict[str, Array] = {}

    def array(self, name: str, shape: tuple[int, ...], *, mean: float, spread: float) -> Array:
        self.arrays[name] = self._source.array(name, shape, mean=mean, spread=spread)
        return self.arrays[name]
