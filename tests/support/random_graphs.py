"""Seeded random ONNX graphs with everything that makes cutting hard, and inputs for them.

A graph is a walk of blocks over float activations [rows, 8]: dense layers (some share a weight), skips
to any earlier activation, layer norms, convolutions and recurrent cells (through reshapes whose shape
is computed at run time), branches and loops that capture outer values, masks, integer look-ups,
sequences, transposed weights, tensors of unknown rank. Intermediate values, an input, a weight and a
constant may be outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 8
OPSET = 17
Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class RandomGraph:
    """A model and inputs that it can take."""

    model: onnx.ModelProto
    inputs: dict[str, Array]


def random_graph(seed: int, *, blocks: int = 8) -> RandomGraph:
    """The graph of this seed: same seed, same bytes."""
    return _Walk(seed).make(blocks)


def scrambled(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """The same graph with every inner name replaced by noise; inputs and outputs keep theirs."""
    random = np.random.default_rng(seed)
    ports = {item.name for item in (*model.graph.input, *model.graph.output)}
    known: dict[str, str] = {}

    def noise(name: str) -> str:
        if not name or name in ports:
            return name
        return known.setdefault(name, f"t{random.integers(2**60):x}")

    def rename(graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            tensor.name = noise(tensor.name)
        for item in (*graph.input, *graph.output, *graph.value_info):
            item.name = noise(item.name)
        for node in graph.node:
            node.name = noise(node.name)
            node.input[:] = [noise(name) for name in node.input]
            node.output[:] = [noise(name) for name in node.output]
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    rename(attribute.g)

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    rename(copy.graph)
    return copy


class _Walk:
    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}
        self.floats: list[str] = ["x"]
        self.matrices: list[str] = []
        self.outputs: dict[str, tuple[int, list[int | str]]] = {}
        self.count = 0

    # --- pieces --------------------------------------------------------------------------------

    def name(self, stem: str = "v") -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [self.name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0]

    def weight(self, *shape: int, scale: float = 0.4) -> str:
        name = self.name("w")
        self.weights[name] = (self.random.standard_normal(shape) * scale).astype(np.float32)
        return name

    def ints(self, *values: int) -> str:
        if self.random.random() < 0.5:
            name = self.name("c")
            self.weights[name] = np.array(values, np.int64)
            return name
        return self.op("Constant", value=numpy_helper.from_array(np.array(values, np.int64)))

    def any_float(self) -> str:
        """Any activation so far: a skip of random length."""
        return str(self.floats[self.random.integers(len(self.floats))])

    def matrix(self) -> str:
        if self.matrices and self.random.random() < 0.3:
            return str(self.matrices[self.random.integers(len(self.matrices))])
        self.matrices.append(self.weight(WIDTH, WIDTH))
        return self.matrices[-1]

    def rows_of(self, value: str) -> str:
        """The number of rows as a tensor [1], computed in the graph."""
        return self.op("Gather", self.op("Shape", value), self.ints(0), axis=0)

    # --- blocks --------------------------------------------------------------------------------

    def dense(self, x: str) -> str:
        y = self.op("Add", self.op("MatMul", x, self.matrix()), self.weight(WIDTH))
        kind = ("Relu", "Tanh", "Sigmoid", "Identity")[self.random.integers(4)]
        return self.op(kind, y)

    def skip(self, x: str) -> str:
        return self.op(
            "Add", self.op("Tanh", x), self.op("Mul", self.any_float(), self.any_float())
        )

    def norm(self, x: str) -> str:
        return self.op("LayerNormalization", x, self.weight(WIDTH), self.weight(WIDTH), axis=-1)

    def transposed(self, x: str) -> str:
        return self.op("MatMul", x, self.op("Transpose", self.matrix(), perm=[1, 0]))

    def convolution(self, x: str) -> str:
        shape = self.op("Concat", self.rows_of(x), self.ints(2, 2, 2), axis=0)
        image = self.op("Reshape", x, shape)
        image = self.op("Conv", image, self.weight(2, 2, 3, 3), self.weight(2), pads=[1, 1, 1, 1])
        return self.op("Reshape", self.op("Relu", image), self.ints(0, WIDTH))

    def recurrent(self, x: str) -> str:
        cell, gates = (("GRU", 3), ("LSTM", 4), ("RNN", 1))[self.random.integers(3)]
        steps = self.op("Unsqueeze", x, self.ints(1))  # rows as time, a batch of one
        out = self.op(
            cell, steps, self.weight(1, gates * WIDTH, WIDTH), self.weight(1, gates * WIDTH, WIDTH),
            hidden_size=WIDTH,
        )  # fmt: skip
        return self.op("Squeeze", out, self.ints(1, 2))

    def branch(self, x: str) -> str:
        """If: both bodies capture an activation, one a weight that the outer graph uses too."""
        outer, matrix = self.any_float(), self.matrix()
        positive = self.op(
            "Greater", self.op("ReduceSum", x, keepdims=0), self._scalar(0.0, np.float32)
        )
        then, other = self.name(), self.name()
        bodies = {
            "then_branch": ([helper.make_node("MatMul", [outer, matrix], [then])], then),
            "else_branch": ([helper.make_node("Sub", [x, outer], [other])], other),
        }
        return self.op(
            "If",
            positive,
            **{
                key: helper.make_graph(
                    nodes, key, [], [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)]
                )
                for key, (nodes, out) in bodies.items()
            },
        )

    def loop(self, x: str) -> str:
        """Three turns of h = tanh(h W), the weight and the trip count captured from outside."""
        matrix = self.matrix()
        turn, going, state, still, product, new = (self.name() for _ in range(6))
        body = helper.make_graph(
            [
                helper.make_node("MatMul", [state, matrix], [product]),
                helper.make_node("Tanh", [product], [new]),
                helper.make_node("Identity", [going], [still]),
            ],
            "body",
            [
                helper.make_tensor_value_info(turn, TensorProto.INT64, []),
                helper.make_tensor_value_info(going, TensorProto.BOOL, []),
                helper.make_tensor_value_info(state, TensorProto.FLOAT, None),
            ],
            [
                helper.make_tensor_value_info(still, TensorProto.BOOL, []),
                helper.make_tensor_value_info(new, TensorProto.FLOAT, None),
            ],
        )
        return self.op("Loop", self._scalar(3, np.int64), "", x, body=body)

    def mask(self, x: str) -> str:
        chosen = self.op("Greater", x, self.any_float())
        flags = self.op("And", chosen, self.op("Not", "flags"))
        return self.op("Where", flags, self.any_float(), x)

    def lookup(self, x: str) -> str:
        table = self.weight(5, WIDTH)
        ids = self.op("Mod", self.op("Add", "ids", self.ints(1)), self.ints(5))
        return self.op("Add", x, self.op("Gather", table, ids, axis=0))

    def sequence(self, x: str) -> str:
        """A sequence that must not cross, and the tensors it is made of."""
        pair = self.op("SequenceConstruct", x, self.op("Neg", self.any_float()))
        both = self.op("ConcatFromSequence", pair, axis=1)
        return self.op("MatMul", both, self.weight(2 * WIDTH, WIDTH))

    def halves(self, x: str) -> str:
        left = self.op("Split", x, self.ints(3, WIDTH - 3), outputs=2, axis=1)
        right = f"v{int(left[1:]) + 1}"
        return self.op(
            "Concat", right, self.op("Exp", self.op("Neg", self.op("Abs", left))), axis=1
        )

    def unknown_rank(self, x: str) -> str:
        """A reshape whose shape no inference can see, so that not even the rank is known."""
        shape = self.op("Compress", self.op("Shape", x), self.op("Cast", self.ints(1, 1), to=9))
        odd = self.op("Tanh", self.op("Reshape", x, shape))
        odd = self.op("Mul", odd, self.op("Cos", odd))
        return self.op("Reshape", odd, self.ints(-1, WIDTH))

    def _scalar(self, value: float, dtype: Any) -> str:
        name = self.name("s")
        self.weights[name] = np.array(value, dtype)
        return name

    # --- the whole -----------------------------------------------------------------------------

    def make(self, blocks: int) -> RandomGraph:
        kinds: list[Callable[[str], str]] = [
            self.dense, self.dense, self.skip, self.norm, self.transposed, self.convolution,
            self.recurrent, self.branch, self.loop, self.mask, self.lookup, self.sequence, self.halves,
            self.unknown_rank,
        ]  # fmt: skip
        value = self.dense("x")
        for _ in range(blocks):
            self.floats.append(value)
            source = self.any_float() if self.random.random() < 0.2 else value
            value = kinds[self.random.integers(len(kinds))](source)
            # Keep values small, so that a float's rounding stays what is compared.
            if self.random.random() < 0.3:
                value = self.op("Tanh", value)
        self.nodes.append(helper.make_node("Sigmoid", [value], ["y"]))
        self.outputs["y"] = (TensorProto.FLOAT, ["rows", WIDTH])
        self._extra_outputs()
        return self._finish()

    def _extra_outputs(self) -> None:
        middle = self.floats[1 + self.random.integers(len(self.floats) - 1)]
        self.outputs.setdefault(middle, (TensorProto.FLOAT, ["rows", WIDTH]))
        if self.random.random() < 0.5:
            self.nodes.append(helper.make_node("Greater", [middle, "y"], ["larger"]))
            self.outputs["larger"] = (TensorProto.BOOL, ["rows", WIDTH])
        if self.random.random() < 0.3:
            self.outputs["ids"] = (TensorProto.INT64, ["rows"])
        if self.random.random() < 0.3:
            shared = self.matrices[0]
            self.outputs[shared] = (TensorProto.FLOAT, [WIDTH, WIDTH])
        if self.random.random() < 0.3:
            constant = helper.make_node("Constant", [], ["fixed"], value_floats=[1.0, 2.0])
            self.nodes.append(constant)
            self.outputs["fixed"] = (TensorProto.FLOAT, [2])
        if self.random.random() < 0.5:  # a node that nothing needs
            self.op("Exp", middle)

    def _finish(self) -> RandomGraph:
        rows = int(self.random.integers(2, 5))
        inputs: dict[str, Array] = {
            "x": self.random.standard_normal((rows, WIDTH)).astype(np.float32),
            "ids": self.random.integers(0, 5, rows),
            "flags": self.random.random((rows, WIDTH)) < 0.5,
        }
        types = {"x": TensorProto.FLOAT, "ids": TensorProto.INT64, "flags": TensorProto.BOOL}
        ports = [
            helper.make_tensor_value_info(name, types[name], ["rows", *array.shape[1:]])
            for name, array in inputs.items()
        ]
        if self.random.random() < 0.3:  # an input with a default: a weight that may be overridden
            name = self.matrices[0]
            if name not in self.outputs:
                ports.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [WIDTH, WIDTH]))
                inputs[name] = self.random.standard_normal((WIDTH, WIDTH)).astype(np.float32)
        graph = helper.make_graph(
            self.nodes,
            "random",
            ports,
            [helper.make_tensor_value_info(n, *spec) for n, spec in self.outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9
        )
        return RandomGraph(model, inputs)
