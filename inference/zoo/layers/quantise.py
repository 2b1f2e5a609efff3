"""Weights in 4 or 8 bits, packed as onnxruntime's MatMulNBits takes them.

A row of the matrix [outer, inner] is cut into blocks of 32, the last one padded. Each block has one scale d,
and a weight x becomes q = round(x / d) + 2^(bits-1), without zero points. d is the block's value of largest
magnitude over -2^(bits-1), so that this value is met exactly: the scheme of llama.cpp's Q4_0. Of two 4-bit
weights the first is in the lower half of the byte.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from inference.documents import Array
from inference.zoo.precision import BLOCK


def packed_shape(outer: int, inner: int, bits: int) -> tuple[int, int, int]:
    """Shape of the packed bytes: [outer, blocks, bytes of a block]."""
    return outer, blocks(inner), BLOCK * bits // 8


def blocks(inner: int) -> int:
    return -(-inner // BLOCK)


def quantise(matrix: Array, bits: int, dtype: DTypeLike = np.float32) -> tuple[Array, Array]:
    """float32[outer, inner] → packed uint8[outer, blocks, bytes], scales dtype[outer, blocks]."""
    outer, inner = matrix.shape
    padded = np.zeros((outer, blocks(inner) * BLOCK), np.float32)
    padded[:, :inner] = matrix
    grouped = padded.reshape(outer, -1, BLOCK)
    middle = 2 ** (bits - 1)
    largest = np.take_along_axis(grouped, np.abs(grouped).argmax(-1, keepdims=True), -1)
    scales = (largest / -middle).astype(dtype)
    # Rounded with the scale that is stored; a block of zeros has the scale 0 and stays zero.
    divisors = np.where(scales == 0, 1, scales).astype(np.float32)
    levels = np.clip(np.rint(grouped / divisors) + middle, 0, 2 * middle - 1).astype(np.uint8)
    packed = levels if bits == 8 else levels[..., 0::2] | levels[..., 1::2] << 4
    return packed, scales[..., 0]


def dequantise(packed: Array, scales: Array, inner: int) -> Array:
    """What `quantise` gave, as float32[outer, inner]."""
    half = packed.shape[-1] * 2 == BLOCK
    levels = np.stack([packed & 15, packed >> 4], -1) if half else packed
    levels = levels.reshape(*scales.shape, BLOCK).astype(np.float32)
    middle = 8 if half else 128
    values = (levels - middle) * scales[..., None].astype(np.float32)
    return values.reshape(len(packed), -1)[:, :inner]
