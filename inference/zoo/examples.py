"""Seeded inputs for models that read tokens, pixels or sound."""

from __future__ import annotations

import numpy as np

from inference.documents import Array


class Examples:
    """Inputs of one seed for `batch` rows, made in the order in which they are asked for."""

    def __init__(self, seed: int, batch: int) -> None:
        self._random = np.random.default_rng(seed)
        self._batch = batch

    def ids(self, length: int, vocabulary: int) -> Array:
        """int64[batch, length] below the vocabulary's size."""
        return self._random.integers(1, vocabulary, (self._batch, length))

    def mask(self, length: int) -> Array:
        """int64[batch, length]: the second of every two rows ends in padding."""
        mask = np.ones((self._batch, length), np.int64)
        mask[1::2, max(1, length - length // 3) :] = 0
        return mask

    def numbers(self, *shape: int) -> Array:
        """float32[batch, …], normal."""
        return self._random.standard_normal((self._batch, *shape), dtype=np.float32)
