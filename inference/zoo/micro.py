"""Models with hardly anything in them, to measure and to test what surrounds a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def add_one(path: Path) -> Path:
    """`y = x + 1` over float32 of any length: what a transfer costs, with hardly any computing."""
    node = helper.make_node("Add", ["x", "one"], ["y"])
    return _save(path, "add_one", [node], ["length"], {"one": np.ones(1, np.float32)})


def chain(path: Path, *, layers: int = 8, size: int = 64, seed: int = 0) -> Path:
    """`layers` small dense layers with weights of their own, so that every boundary is a legal cut.

    Input `x` float32[rows, size]; output `y` of the same shape.
    """
    random = np.random.default_rng(seed)
    names = ["x", *(f"h{i}" for i in range(1, layers)), "y"]
    nodes, weights = [], {}
    for i in range(layers):
        weights[f"w{i}"] = (random.standard_normal((size, size)) / size**0.5).astype(np.float32)
        nodes.append(helper.make_node("MatMul", [names[i], f"w{i}"], [f"m{i}"]))
        nodes.append(helper.make_node("Tanh", [f"m{i}"], [names[i + 1]]))
    return _save(path, "chain", nodes, ["rows", size], weights)


def slow(path: Path, *, matmuls: int = 40, size: int = 512, seed: int = 7) -> Path:
    """A chain of square MatMuls that computes for a second or two in WebAssembly: time to be killed.

    Input `x` float32[rows, size]; output `y` of the same shape. One orthogonal matrix is shared, so
    that values neither grow nor vanish.
    """
    random = np.random.default_rng(seed)
    matrix = np.linalg.qr(random.standard_normal((size, size)))[0].astype(np.float32)
    names = ["x", *(f"h{i}" for i in range(1, matmuls)), "y"]
    nodes = [helper.make_node("MatMul", [names[i], "w"], [names[i + 1]]) for i in range(matmuls)]
    return _save(path, "slow", nodes, ["rows", size], {"w": matrix})


def _save(
    path: Path,
    name: str,
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[str | int],
    weights: dict[str, np.ndarray],
) -> Path:
    """A graph from `x` to `y`, both float32 of the given shape."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(array, key) for key, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path
