"""A graph builder for networks: weights by name and shape, in the model's precision."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import DTypeLike

from inference.documents import Array, DType
from inference.zoo.builder import FLOAT, MICROSOFT, GraphBuilder
from inference.zoo.layers.packed import Form, PackedWeights
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
        self,
        name: str,
        *shape: int,
        mean: float = 0.0,
        spread: float = 0.1,
        dtype: DTypeLike | None = None,
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
        if form := self._form(f"{name}.weight"):
            return self._looked_up(f"{name}.weight", form, ids, rows, width)
        return self.op("Gather", self.table(name, rows, width), ids)

    def table(self, name: str, rows: int, width: int) -> str:
        return self.tensor(f"{name}.weight", rows, width, spread=0.5)

    def linear(self, name: str, x: str, inner: int, outer: int, *, bias: bool = True) -> str:
        """x[…, inner] → […, outer]: MatMul and Add, or MatMulNBits where weights are quantised."""
        weights = _Matrix(self._source, f"{name}.weight", (outer, inner), inner**-0.5)
        if form := self._form(weights.name):
            product = self._multiplied(weights.name, form, x, outer, inner)
        elif self.precision.bits is None:
            product = self.op("MatMul", x, self._transposed(weights))
        else:
            product = self._quantised(weights, x, self.precision.bits)
        return self.op("Add", product, self.tensor(f"{name}.bias", outer)) if bias else product

    def tied(self, table: str, x: str, rows: int, width: int) -> str:
        """x[…, width] → […, rows]: an output layer that shares the weights of an embedding."""
        if form := self._form(f"{table}.weight"):
            return self._multiplied(f"{table}.weight", form, x, rows, width)
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

    # --- weights that come in few bits -----------------------------------------------------------

    def _form(self, name: str) -> Form | None:
        return self._source.form(name) if isinstance(self._source, PackedWeights) else None

    def _multiplied(self, name: str, form: Form, x: str, outer: int, inner: int) -> str:
        packed, scales, *zeros = self._held(name, form, outer, inner)
        return self.op(
            "MatMulNBits", x, packed, scales, *zeros, domain=MICROSOFT,
            K=inner, N=outer, bits=form.bits, block_size=form.block,
        )  # fmt: skip

    def _looked_up(self, name: str, form: Form, ids: str, outer: int, inner: int) -> str:
        """Rows of the matrix, in plain operators: [batch, sequence] → [batch, sequence, inner]."""
        packed, scales, *zeros = self._held(name, form, outer, inner)
        levels = self.op("Cast", self.op("Gather", packed, ids), to=self.precision.onnx_type)
        if form.bits == 4:
            high = self.op("Floor", self.op("Mul", levels, self.number(1 / 16)))
            low = self.op("Sub", levels, self.op("Mul", high, self.number(16)))
            halves = [self.op("Unsqueeze", half, self.ints(-1)) for half in (low, high)]
            pairs = self.op("Concat", *halves, axis=-1)
            blocks = self.ints(0, 0, form.blocks(inner), form.block)
            levels = self.op("Reshape", pairs, blocks)
        zero = self.number(2 ** (form.bits - 1))
        if zeros:
            zero = self.op("Unsqueeze", self.op("Gather", zeros[0], ids), self.ints(-1))
        scale = self.op("Unsqueeze", self.op("Gather", scales, ids), self.ints(-1))
        values = self.op("Mul", self.op("Sub", levels, zero), scale)
        return self.op("Reshape", values, self.ints(0, 0, inner))

    def _held(self, name: str, form: Form, outer: int, inner: int) -> list[str]:
        """Initialisers: bytes, scales and, where the form has them, zeros; the same for who asks again."""
        source, dtype = self._source, self.precision.dtype
        assert isinstance(source, PackedWeights)
        blocks = (outer, form.blocks(inner))
        made = [
            self.parameter(
                f"{name}_packed",
                np.uint8,
                (*blocks, form.block_bytes),
                lambda: source.packed(name).bytes_of(form),
            ),
            self.parameter(
                f"{name}_scales", dtype, blocks, lambda: source.packed(name).scales.astype(dtype)
            ),
        ]
        if form.zeros:
            made.append(
                self.parameter(f"{name}_zeros", dtype, blocks, lambda: _zeros(source, name))
            )
        return made

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


def _zeros(source: PackedWeights, name: str) -> Array:
    zeros = source.packed(name).zeros
    if zeros is None:
        raise ValueError(f"weight {name!r}: its form has zeros, and it has none")
    return zeros


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
