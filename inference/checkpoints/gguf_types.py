"""GGUF's types of tensors: blocks of a row, each unpacked into levels, scales and offsets.

A weight is level · scale + offset. Layouts are those of ggml-common.h of
https://github.com/ggml-org/ggml.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from inference.documents import Array

_SUPER: Final = 256  # weights of a K type's block


@dataclasses.dataclass(frozen=True)
class Levels:
    """uint8[rows, columns], and float32[rows, blocks] scales and offsets."""

    levels: Array
    scales: Array
    offsets: Array


@dataclasses.dataclass(frozen=True)
class BlockType:
    """A type: `elements` weights take `nbytes`.

    Attributes:
        bits: of the levels that it is unpacked to, 4 or 8; 0: its weights are floats.
        shared: how many weights share a scale.
        unpack: the bytes of rows, uint8[rows, bytes], to levels; None: nobody does.
        middle: the level of zero where all blocks have the same one; None: offsets are the block's own.
    """

    name: str
    elements: int
    nbytes: int
    bits: int = 0
    shared: int = 0
    unpack: Callable[[Array], Levels] | None = None
    middle: int | None = None
    floats: Callable[[Array], Array] | None = None

    @property
    def known(self) -> bool:
        return self.unpack is not None or self.floats is not None

    def values(self, raw: Array) -> Array:
        """The weights of rows, float32[rows, columns]."""
        if self.floats is not None:
            return self.floats(raw)
        if self.unpack is None:
            raise ValueError(f"the type {self.name} cannot be read")
        made = self.unpack(raw)
        rows, blocks = made.scales.shape
        grouped = made.levels.reshape(rows, blocks, -1).astype(np.float32)
        scales, offsets = made.scales[..., None], made.offsets[..., None]
        values: Array = grouped * scales + offsets
        if self.middle is not None:  # exactly: a level has 8 bits, a scale few
            values = (grouped - self.middle) * scales
        return values.reshape(rows, -1)


def _split(raw: Array, nbytes: int, *parts: int) -> list[Array]:
    """Parts of each block: uint8[rows, blocks, bytes of the part]."""
    blocks = raw.reshape(len(raw), -1, nbytes)
    ends = np.cumsum(parts)[:-1]
    return np.split(blocks, ends, axis=-1)


def _half(part: Array) -> Array:
    """Two bytes of each block as float32[rows, blocks]."""
    halves: Array = np.ascontiguousarray(part).view("<f2")[..., 0].astype(np.float32)
    return halves


def _nibbles(part: Array) -> Array:
    """[…, n] bytes → […, 2n]: the low halves first, then the high ones."""
    return np.concatenate([part & 15, part >> 4], axis=-1)


def _rows(grouped: Array) -> Array:
    return grouped.reshape(len(grouped), -1)


def _q8_0(raw: Array) -> Levels:
    scale, quants = _split(raw, 34, 2, 32)
    d = _half(scale)
    return Levels(_rows(quants ^ 128), d, -128 * d)


def _q4_0(raw: Array) -> Levels:
    scale, quants = _split(raw, 18, 2, 16)
    d = _half(scale)
    return Levels(_rows(_nibbles(quants)), d, -8 * d)


def _q4_1(raw: Array) -> Levels:
    scale, least, quants = _split(raw, 20, 2, 2, 16)
    return Levels(_rows(_nibbles(quants)), _half(scale), _half(least))


def _q5_0(raw: Array) -> Levels:
    """Five bits, held as eight: 16 is zero, and so is 128."""
    scale, high, quants = _split(raw, 22, 2, 4, 16)
    fifth = np.unpackbits(high, axis=-1, bitorder="little")
    d = _half(scale)
    return Levels(_rows((_nibbles(quants) | fifth << 4) + 112), d, -128 * d)


def _q4_k(raw: Array) -> Levels:
    """Eight groups of 32 with 6-bit scales and minima, themselves scaled."""
    scale, least, small, quants = _split(raw, 144, 2, 2, 12, 128)
    low, middle, high = small[..., :4], small[..., 4:8], small[..., 8:]
    scales = np.concatenate([low & 63, (high & 15) | (low >> 6) << 4], -1).astype(np.float32)
    minima = np.concatenate([middle & 63, (high >> 4) | (middle >> 6) << 4], -1).astype(np.float32)
    pairs = quants.reshape(*quants.shape[:-1], 4, 32)
    levels = np.stack([pairs & 15, pairs >> 4], axis=-2)
    return Levels(
        _rows(levels),
        _rows(_half(scale)[..., None] * scales),
        _rows(-_half(least)[..., None] * minima),
    )


def _q6_k(raw: Array) -> Levels:
    """Sixteen groups of 16 with 8-bit scales, themselves scaled; six bits, held as eight."""
    low, high, small, scale = _split(raw, 210, 128, 64, 16, 2)
    halves = low.reshape(*low.shape[:-1], 2, 1, 64)
    four = np.concatenate([halves & 15, halves >> 4], axis=-2)  # [.., 2, 2, 64]
    four = four.reshape(*low.shape[:-1], 2, 4, 32)
    quarters = high.reshape(*high.shape[:-1], 2, 1, 32)
    two = np.concatenate([(quarters >> shift) & 3 for shift in (0, 2, 4, 6)], axis=-2)
    scales = _half(scale)[..., None] * small.view(np.int8).astype(np.float32)
    return Levels(_rows((four | two << 4) + 96), _rows(scales), -128 * _rows(scales))


def _brain(raw: Array) -> Array:
    wide = np.ascontiguousarray(raw).view("<u2").astype(np.uint32) << 16
    return wide.view(np.float32)


_KNOWN: Final[Mapping[int, BlockType]] = {
    0: BlockType("F32", 1, 4, floats=lambda raw: np.ascontiguousarray(raw).view("<f4")),
    1: BlockType(
        "F16", 1, 2, floats=lambda raw: np.ascontiguousarray(raw).view("<f2").astype(np.float32)
    ),
    30: BlockType("BF16", 1, 2, floats=_brain),
    2: BlockType("Q4_0", 32, 18, 4, 32, _q4_0, 8),
    3: BlockType("Q4_1", 32, 20, 4, 32, _q4_1),
    6: BlockType("Q5_0", 32, 22, 8, 32, _q5_0, 128),
    8: BlockType("Q8_0", 32, 34, 8, 32, _q8_0, 128),
    12: BlockType("Q4_K", _SUPER, 144, 4, 32, _q4_k),
    14: BlockType("Q6_K", _SUPER, 210, 8, 16, _q6_k, 128),
}
# Types whose size is known, so that a file can be checked, and which are refused by their names.
_SIZES: Final = {
    7: ("Q5_1", 32, 24), 10: ("Q2_K", _SUPER, 84), 11: ("Q3_K", _SUPER, 110),
    13: ("Q5_K", _SUPER, 176), 15: ("Q8_K", _SUPER, 292), 16: ("IQ2_XXS", _SUPER, 66),
    17: ("IQ2_XS", _SUPER, 74), 18: ("IQ3_XXS", _SUPER, 98), 19: ("IQ1_S", _SUPER, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", _SUPER, 110), 22: ("IQ2_S", _SUPER, 82),
    23: ("IQ4_XS", _SUPER, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4),
    27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", _SUPER, 56), 34: ("TQ1_0", _SUPER, 54),
    35: ("TQ2_0", _SUPER, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip
TYPES: Final[Mapping[int, BlockType]] = {
    **{number: BlockType(*size) for number, size in _SIZES.items()},
    **_KNOWN,
}
