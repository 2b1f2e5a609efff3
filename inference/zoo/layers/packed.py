"""Weights that come in few bits, kept in them: products with them, and rows looked up in them.

A weight is (level - zero) · scale; levels have 4 or 8 bits, and a block of a row shares scale and zero. Of
two 4-bit levels the first is in the lower half of the byte: as onnxruntime's MatMulNBits takes them.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol, runtime_checkable

from inference.documents import Array


@dataclasses.dataclass(frozen=True)
class Form:
    """How a matrix [outer, inner] is held. `zeros`: each block has a zero of its own; else 2^(bits - 1)."""

    bits: int
    block: int
    zeros: bool

    def blocks(self, inner: int) -> int:
        return inner // self.block

    @property
    def block_bytes(self) -> int:
        return self.block * self.bits // 8


@dataclasses.dataclass(frozen=True)
class Packed:
    """uint8[outer, inner] levels, float32[outer, blocks] scales and, where the form has them, zeros."""

    levels: Array
    scales: Array
    zeros: Array | None = None

    def bytes_of(self, form: Form) -> Array:
        """uint8[outer, blocks, bytes of a block]."""
        outer, inner = self.levels.shape
        grouped = self.levels.reshape(outer, form.blocks(inner), form.block)
        if form.bits == 8:
            return grouped
        packed: Array = grouped[..., 0::2] | grouped[..., 1::2] << 4
        return packed


@runtime_checkable
class PackedWeights(Protocol):
    """Weights of which some are held in few bits."""

    def form(self, name: str) -> Form | None:
        """How a matrix is held; None: in floats."""

    def packed(self, name: str) -> Packed:
        """The matrix."""
