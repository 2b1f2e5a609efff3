"""Seeded random graphs that move the axis of a batch about: some keep its rows apart, some do not.

x float32[batch, 4, 6] goes through transpositions, reshapes (with constants, 0, -1 and sizes computed from
Shape), reductions, products and look-ups, most of which may go over any axis, the batch's too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
SHAPE: tuple[int | str, ...] = ("batch", 4, 6)


class RowGraph:
    """The graph of this seed; it need not be one that runs: reshapes may not fit."""

    def __init__(self, seed: int, *, steps: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray[Any, Any]] = {}
        self.name, self.dims = "x", list(SHAPE)
        kinds: list[Callable[[], None]] = [
            self._transpose, self._transpose, self._reshape, self._reshape, self._merge, self._merge,
            self._back, self._back, self._softmax, self._reduce, self._product, self._gram, self._add_old,
            self._slice, self._concat, self._cumsum, self._weight, self._expand, self._ordered,
        ]  # fmt: skip
        self.old: list[tuple[str, list[int | str]]] = []
        for _ in range(steps):
            self.old.append((self.name, list(self.dims)))
            kinds[self.random.integers(len(kinds))]()
        if self.dims[:1] != ["batch"]:
            self._home()
        self.nodes.append(helper.make_node("Tanh", [self.name], ["y"]))

    @property
    def model(self) -> onnx.ModelProto:
        tail: list[int | str | None] = [None] * (len(self.dims) - 1)
        graph = helper.make_graph(
            self.nodes,
            "rows",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", *tail])],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9
        )

    # --- pieces --------------------------------------------------------------------------------

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, array: Any) -> str:
        name = f"c{len(self.weights)}"
        self.weights[name] = np.asarray(array)
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def axis(self) -> int:
        return int(self.random.integers(len(self.dims)))

    def size_of(self, value: str, axis: int) -> str:
        """An entry of a shape, as a vector of one."""
        return self.op("Slice", self.op("Shape", value), self.ints(axis), self.ints(axis + 1))

    # --- steps ---------------------------------------------------------------------------------

    def _transpose(self) -> None:
        perm = [int(a) for a in self.random.permutation(len(self.dims))]
        self.name = self.op("Transpose", self.name, perm=perm)
        self.dims = [self.dims[a] for a in perm]

    def _reshape(self) -> None:
        """Split an axis of fixed length, or fold the batch by threes."""
        axis = self.axis()
        size, factor = self.dims[axis], int(self.random.choice([2, 3]))
        if isinstance(size, int) and size % factor:
            return
        rest: int | str = size // factor if isinstance(size, int) else f"{size}/{factor}"
        target = [
            0 if a < axis else -1 if isinstance(d, str) else d for a, d in enumerate(self.dims)
        ]
        pair = [factor, -1] if isinstance(size, str) else [factor, size // factor]
        target[axis : axis + 1] = pair
        if target.count(-1) > 1:
            return
        self.name = self.op("Reshape", self.name, self.ints(*target))
        self.dims[axis : axis + 1] = [factor, rest]

    def _merge(self) -> None:
        """Two axes become one, the target computed from the shape."""
        if len(self.dims) < 2:
            return
        axis = int(self.random.integers(len(self.dims) - 1))
        sizes = [self.size_of(self.name, a) for a in range(len(self.dims))]
        both = self.op("Mul", sizes[axis], sizes[axis + 1])
        target = self.op("Concat", *sizes[:axis], both, *sizes[axis + 2 :], axis=0)
        self.name = self.op("Reshape", self.name, target)
        one, other = self.dims[axis : axis + 2]
        known = isinstance(one, int) and isinstance(other, int)
        self.dims[axis : axis + 2] = [one * other if known else f"{one}*{other}"]  # type: ignore[operator]

    def _back(self) -> None:
        """Into a shape that was there before, by that tensor's own sizes."""
        name, dims = self.old[self.random.integers(len(self.old))]
        self.name = self.op("Reshape", self.name, self.op("Shape", name))
        self.dims = list(dims)

    def _softmax(self) -> None:
        self.name = self.op("Softmax", self.name, axis=self.axis())

    def _reduce(self) -> None:
        axis, keep = self.axis(), int(self.random.integers(2))
        if len(self.dims) < 3:
            return
        self.name = self.op("ReduceMean", self.name, axes=[axis], keepdims=keep)
        self.dims[axis : axis + 1] = [1] if keep else []

    def _product(self) -> None:
        width = self.dims[-1]
        if isinstance(width, int):
            matrix = self.random.standard_normal((width, 4)).astype(np.float32)
            self.name = self.op("MatMul", self.name, self.constant(matrix))
            self.dims[-1] = 4

    def _gram(self) -> None:
        """Attention without weights, between the places of the last axis but one."""
        if len(self.dims) < 2:
            return
        perm = [*range(len(self.dims) - 2), len(self.dims) - 1, len(self.dims) - 2]
        scores = self.op("MatMul", self.name, self.op("Transpose", self.name, perm=perm))
        self.name = self.op("MatMul", self.op("Softmax", scores, axis=-1), self.name)

    def _add_old(self) -> None:
        alike = [name for name, dims in self.old if dims == self.dims]
        if alike:
            self.name = self.op("Add", self.name, alike[self.random.integers(len(alike))])

    def _slice(self) -> None:
        axis = self.axis()
        if isinstance(self.dims[axis], int) or self.random.random() < 0.3:
            one = (self.ints(0), self.ints(1), self.ints(axis))
            self.name = self.op("Slice", self.name, *one)
            self.dims[axis] = 1

    def _concat(self) -> None:
        axis = self.axis()
        size = self.dims[axis]
        if isinstance(size, int):
            self.name = self.op("Concat", self.name, self.op("Neg", self.name), axis=axis)
            self.dims[axis] = 2 * size

    def _cumsum(self) -> None:
        self.name = self.op("CumSum", self.name, self.constant(np.int64(self.axis())))

    def _weight(self) -> None:
        """A weight with a place for each entry of the last axis; for three rows, if that is the batch."""
        last = self.dims[-1]
        size = last if isinstance(last, int) else 3
        weight = self.random.standard_normal(size).astype(np.float32)
        self.name = self.op("Mul", self.name, self.constant(weight))

    def _expand(self) -> None:
        """Add a row that is the same for all: a weight, expanded to the own shape."""
        weight = self.constant(self.random.standard_normal([1] * len(self.dims)).astype(np.float32))
        self.name = self.op(
            "Add", self.name, self.op("Expand", weight, self.op("Shape", self.name))
        )

    def _ordered(self) -> None:
        """Something that knows a row's place: numbers along an axis."""
        if self.random.random() < 0.7:
            return
        axis = self.axis()
        zeros = self.op("Mul", self.op("Shape", self.name), self.ints(0))
        ones = self.op(
            "Expand", self.constant(np.float32(0.1)), self.op("Add", zeros, self.ints(1))
        )
        ones = self.op("Expand", ones, self.op("Shape", self.name))
        places = self.op("CumSum", ones, self.constant(np.int64(axis)))
        self.name = self.op("Add", self.name, places)

    def _home(self) -> None:
        """[batch, whatever is left]."""
        target = self.op("Concat", self.size_of("x", 0), self.ints(-1), axis=0)
        self.name = self.op("Reshape", self.name, target)
        self.dims = ["batch", "rest"]
