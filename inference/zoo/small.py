"""Small graphs of other kinds than transformers: seeded weights, a few kilobytes, for tests and checks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from inference.zoo.builder import FLOAT, INT64, GraphBuilder

BOOL, STRING = TensorProto.BOOL, TensorProto.STRING


class _Small(GraphBuilder):
    """A graph builder with random weights."""

    def __init__(self, name: str, seed: int) -> None:
        super().__init__(name)
        self._random = np.random.default_rng(seed)

    def random(self, *shape: int) -> str:
        scale = 1 / max(1.0, float(np.prod(shape[1:]))) ** 0.5
        array = (self._random.standard_normal(shape) * scale).astype(np.float32)
        return self.weight(f"weight_{len(self._weights)}", array)

    def dense(self, x: str, inner: int, outer: int) -> str:
        return self.op("Add", self.op("MatMul", x, self.random(inner, outer)), self.random(outer))


def mlp(path: Path, *, layers: int = 3, width: int = 16, seed: int = 0) -> Path:
    """x float32[rows, width] → y float32[rows, width]: dense layers with ReLU, softmax at the end."""
    g = _Small("mlp", seed)
    x = "x"
    for _ in range(layers):
        x = g.op("Relu", g.dense(x, width, width))
    g.op("Softmax", x, output="y", axis=-1)
    shape: list[int | str] = ["rows", width]
    return g.save(path, [("x", FLOAT, shape)], [("y", FLOAT, shape)])


def convolutions(path: Path, *, seed: int = 0) -> Path:
    """image float32[batch, 3, height, width] → scores float32[batch, 5]: a residual convolutional net."""
    g = _Small("convolutions", seed)
    x = g.op("Relu", g.op("Conv", "image", g.random(8, 3, 3, 3), g.random(8), pads=[1, 1, 1, 1]))
    for _ in range(2):
        inner = g.op("Relu", g.op("Conv", x, g.random(8, 8, 3, 3), g.random(8), pads=[1, 1, 1, 1]))
        outer = g.op("Conv", inner, g.random(8, 8, 1, 1), g.random(8))
        x = g.op("Relu", g.op("Add", outer, x))
        x = g.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    pooled = g.op("Flatten", g.op("GlobalAveragePool", x))
    scores = g.dense(pooled, 8, 5)
    g.op("Softmax", scores, output="scores", axis=-1)
    return g.save(
        path,
        [("image", FLOAT, ["batch", 3, "height", "width"])],
        [("scores", FLOAT, ["batch", 5])],
    )


def recurrent(path: Path, *, hidden: int = 8, seed: int = 0) -> Path:
    """x float32[steps, batch, hidden] → y of the same shape: an LSTM, then a GRU, then a dense layer."""
    g = _Small("recurrent", seed)
    x = "x"
    for kind, gates in (("LSTM", 4), ("GRU", 3)):
        weights = [g.random(1, gates * hidden, hidden) for _ in range(2)]
        x = g.op("Squeeze", g.op(kind, x, *weights, hidden_size=hidden), g.ints(1))
    g.op("Tanh", g.dense(x, hidden, hidden), output="y")
    shape: list[int | str] = ["steps", "batch", hidden]
    return g.save(path, [("x", FLOAT, shape)], [("y", FLOAT, shape)])


def many_ports(path: Path, *, seed: int = 0) -> Path:
    """Several inputs and outputs of several types, with skips over the middle.

    Inputs x float32[rows, 8], ids int64[rows], keep bool[rows, 8]. Outputs y float32[rows, 8],
    best int64[rows], positive bool[rows, 8] and next_ids int64[rows].
    """
    g = _Small("many_ports", seed)
    looked_up = g.op("Gather", g.random(10, 8), "ids")
    first = g.op("Tanh", g.dense(g.op("Add", "x", looked_up), 8, 8))
    kept = g.op("Where", "keep", first, g.op("Neg", "x"))
    second = g.op("Tanh", g.dense(kept, 8, 8))
    g.op("Greater", second, g.scalar(0.0), output="positive")
    third = g.op("Tanh", g.dense(g.op("Add", second, first), 8, 8))
    g.op("Where", "positive", third, looked_up, output="y")
    g.op("ArgMax", "y", output="best", axis=1, keepdims=0)
    g.op("Add", "ids", "best", output="next_ids")
    rows: list[int | str] = ["rows", 8]
    return g.save(
        path,
        [("x", FLOAT, rows), ("ids", INT64, ["rows"]), ("keep", BOOL, rows)],
        [
            ("y", FLOAT, rows),
            ("best", INT64, ["rows"]),
            ("positive", BOOL, rows),
            ("next_ids", INT64, ["rows"]),
        ],
    )


def control_flow(path: Path, *, width: int = 8, seed: int = 0) -> Path:
    """x float32[rows, width], turns int64[] → y float32[rows, width], through a Loop and an If.

    Both bodies capture weights and activations of the graph around them.
    """
    g = _Small("control_flow", seed)
    first = g.op("Tanh", g.dense("x", width, width))
    shape: list[int | str] = ["rows", width]
    matrix = g.random(width, width)
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", matrix], ["turned"]),
            helper.make_node("Add", ["turned", first], ["mixed"]),
            helper.make_node("Tanh", ["mixed"], ["next_state"]),
            helper.make_node("Identity", ["going"], ["still_going"]),
        ],
        "body",
        [info("turn", INT64, []), info("going", BOOL, []), info("state", FLOAT, shape)],
        [info("still_going", BOOL, []), info("next_state", FLOAT, shape)],
    )
    looped = g.op("Loop", "turns", "", first, body=body)
    second = g.op("Tanh", g.dense(looped, width, width))
    positive = g.op("Greater", g.op("ReduceSum", second, keepdims=0), g.scalar(0.0))
    chosen = g.op(
        "If",
        positive,
        then_branch=helper.make_graph(
            [helper.make_node("MatMul", [second, matrix], ["then_y"])],
            "then", [], [info("then_y", FLOAT, shape)],
        ),
        else_branch=helper.make_graph(
            [helper.make_node("Sub", [first, second], ["else_y"])],
            "else", [], [info("else_y", FLOAT, shape)],
        ),
    )  # fmt: skip
    g.op("Tanh", g.dense(chosen, width, width), output="y")
    return g.save(path, [("x", FLOAT, shape), ("turns", INT64, [])], [("y", FLOAT, shape)])


def odd_tensors(path: Path) -> Path:
    """Strings, a scalar and an empty tensor, in and out.

    Inputs words string[count], scale float32[], numbers float32[length] (which may be empty). Outputs
    row string[1, count], scaled float32[length], none float32[0], total float32[].
    """
    g = _Small("odd_tensors", 0)
    # Few operators take strings in onnxruntime-web: Concat, for one, does not.
    g.op("Unsqueeze", "words", g.ints(0), output="row")
    scaled = g.op("Mul", "numbers", "scale", output="scaled")
    g.op("Slice", scaled, g.ints(0), g.ints(0), output="none")
    g.op("Exp", g.op("ReduceSum", scaled, keepdims=0), output="total")
    return g.save(
        path,
        [("words", STRING, ["count"]), ("scale", FLOAT, []), ("numbers", FLOAT, ["length"])],
        [
            ("row", STRING, [1, "count"]),
            ("scaled", FLOAT, ["length"]),
            ("none", FLOAT, [0]),
            ("total", FLOAT, []),
        ],
    )
