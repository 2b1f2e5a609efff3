"""Parts of weights: which elements, and the weight with just those, made when a file is written."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
from onnx import numpy_helper

from inference.documents import Array


@dataclasses.dataclass(frozen=True)
class WeightSlice:
    """Of a weight's axis, seen as `outer` runs of equal length, the same stretch of every run.

    Attributes:
        bits: of an element where several share a byte; the axis then counts elements, the last of a row's
            bytes may be padded.
        length: elements of the axis, which bytes alone do not tell.
    """

    source: str
    axis: int
    outer: int
    start: int
    stop: int
    length: int
    bits: int | None = None

    def dims(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the part of a weight of that shape."""
        kept = self.outer * (self.stop - self.start)
        if self.bits:
            kept = self.outer * _bytes(self.stop - self.start, self.bits)
        return (*dims[: self.axis], kept, *dims[self.axis + 1 :])

    def take(self, weight: onnx.TensorProto, name: str) -> onnx.TensorProto:
        """The part, as a weight of that name."""
        array = numpy_helper.to_array(weight)
        runs = self._runs(array)
        if self.bits:
            elements = _unpacked(runs, self.bits)[..., self.start : self.stop]
            part = _packed(elements, self.bits)
        else:
            part = np.take(runs, range(self.start, self.stop), axis=self.axis + 1)
        return numpy_helper.from_array(
            np.ascontiguousarray(part.reshape(self.dims(array.shape))), name
        )

    def _runs(self, array: Array) -> Array:
        """The axis parted into runs: one axis more."""
        before, after = array.shape[: self.axis], array.shape[self.axis + 1 :]
        return array.reshape(*before, self.outer, array.shape[self.axis] // self.outer, *after)


def _bytes(elements: int, bits: int) -> int:
    return -(-elements * bits // 8)


def _unpacked(packed: Array, bits: int) -> Array:
    """uint8[…, bytes] → uint8[…, elements], the lowest bits of a byte first."""
    flags = np.unpackbits(packed, axis=-1, bitorder="little")
    whole = flags.shape[-1] // bits * bits
    grouped = flags[..., :whole].reshape(*packed.shape[:-1], -1, bits)
    return np.packbits(grouped, axis=-1, bitorder="little")[..., 0]


def _packed(elements: Array, bits: int) -> Array:
    flags = np.unpackbits(elements[..., None], axis=-1, bitorder="little")[..., :bits]
    return np.packbits(flags.reshape(*elements.shape[:-1], -1), axis=-1, bitorder="little")
