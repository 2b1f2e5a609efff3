"""A graph builder for networks: weights by name and shape, in the model's precision."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from inference.documents import Array, DType
from inference.zoo.builder import FLOAT, MICROSOFT, GraphBuilder
from inference.zoo.layers.quantise import blocks, packed_shape, quantise
from inference.zoo.precision import BLOCK, Precision
from inference.zoo.weights import Weights


class Net(GraphBuilder):
    """Weights have the names and shapes of Hugging Face's checkpoints, so that one of those can be given."""

    def __init__(self, name: str, precision: Precision, weights: Weights) -> None:
        super().__init__(name)
        self.precision, self._source = precision, weights

    # --- weights ---------------------------------------------------------------------------------

    def tensor(
        self, name: str, *shape: int, mean: float = 0.0, spread: float = 0.1, dtype: Any = None
    ) -> str:
        """A weight as it is in the checkpoint, in the type of the activations or in `dtype`."""
        dtype = np.dtype(dtype or self.precision.dtype)

        def make() -> Array:
            return self._source.array(name, shape, mean=mean, spread=spread).astype(dtype)

        return self.parameter(name, dtype, shape, make)

    def number(self, value: float) -> str:
        """A scalar in the type of the activations."""
        return self.scalar(value, self.precision.dtype)

    # --- layers ----------------------------------------------------------------------------------

    def embedding(self, name: str, ids: str, rows: int, width: int) -> str:
        return self.op("Gather", self.table(name, rows, width), ids)

    def table(self, name: str, rows: int, width: int) -> str:
        return self.tensor(f"{name}.weight", rows, width, spread=0.5)

    def linear(self, name: str, x: str, inner: int, outer: int, *, bias: bool = True) -> str:
        """x[…, inner] → […, outer]: MatMul and Add, or MatMulNBits where weights are quantised."""
        weights = _Matrix(self._source, f"{name}.weight", (outer, inner), inner**-0.5)
        if self.precision.bits is None:
            product = self.op("MatMul", x, self._transposed(weights))
        else:
            product = self._quantised(weights, x, self.precision.bits)
        return self.op("Add", product, self.tensor(f"{name}.bias", outer)) if bias else product

    def tied(self, table: str, x: str, rows: int, width: int) -> str:
        """x[…, width] → […, rows]: an output layer that shares the weights of an embedding."""
        if self.precision.bits is None:
            matrix = self.op("Transpose", self.table(table, rows, width), perm=[1, 0])
            return self.op("MatMul", x, matrix)
        weights = _Matrix(self._source, f"{table}.weight", (rows, width), 0.5)
        return self._quantised(weights, x, self.precision.bits)

    def layer_norm(self, name: str, x: str, width: int, *, epsilon: float) -> str:
        scale = self.tensor(f"{name}.weight", width, mean=1.0)
        bias = self.tensor(f"{name}.bias", width)
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)

    def rms_norm(self, name: str, x: str, width: int, *, epsilon: float) -> str:
        """x / √(mean x² + ε) · weight, the first part in float32 as exporters have it."""
        wide = self.float32(x)
        mean = self.op("ReduceMean", self.op("Pow", wide, self.scalar(2.0)), axes=[-1])
        root = self.op("Sqrt", self.op("Add", mean, self.scalar(epsilon)))
        normal = self.narrow(self.op("Mul", wide, self.op("Reciprocal", root)))
        return self.op("Mul", self.rms_weight(name, width), normal)

    def rms_weight(self, name: str, width: int) -> str:
        return self.tensor(f"{name}.weight", width, mean=1.0)

    def _transposed(self, matrix: _Matrix) -> str:
        dtype = self.precision.dtype

        def make() -> Array:
            return np.ascontiguousarray(matrix.array().T.astype(dtype))

        return self.parameter(matrix.name, dtype, matrix.shape[::-1], make)

    def _quantised(self, matrix: _Matrix, x: str, bits: int) -> str:
        outer, inner = matrix.shape
        dtype = self.precision.dtype
        packed = self.parameter(
            f"{matrix.name}_packed",
            np.uint8,
            packed_shape(outer, inner, bits),
            lambda: matrix.quantised(bits, dtype)[0],
        )
        scales = self.parameter(
            f"{matrix.name}_scales",
            dtype,
            (outer, blocks(inner)),
            lambda: matrix.quantised(bits, dtype)[1],
        )
        return self.op(
            "MatMulNBits", x, packed, scales, domain=MICROSOFT,
            K=inner, N=outer, bits=bits, block_size=BLOCK,
        )  # fmt: skip

    # --- types -----------------------------------------------------------------------------------

    def narrow(self, x: str) -> str:
        """float32 → the type of the activations."""
        return self.op("Cast", x, to=self.precision.onnx_type) if self.precision.half else x

    def float32(self, x: str) -> str:
        """The type of the activations → float32."""
        return self.op("Cast", x, to=FLOAT) if self.precision.half else x

    def give(self, x: str, name: str) -> str:
        """Make activations an output of the model: float32, under that name."""
        if self.precision.half:
            return self.op("Cast", x, output=name, to=FLOAT)
        return self.rename(x, name)


@dataclasses.dataclass(frozen=True)
class _Matrix:
    """The weight of a linear layer, [outer, inner] as checkpoints have it."""

    source: Weights
    name: str
    shape: tuple[int, int]
    spread: float

    def array(self) -> Array:
        return self.source.array(self.name, self.shape, mean=0.0, spread=self.spread)

    def quantised(self, bits: int, dtype: DType) -> tuple[Array, Array]:
        return quantise(self.array(), bits, dtype)
