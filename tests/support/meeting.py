"""A model whose rows are computed each for itself in small batches, and meet in larger ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def meets_after(path: Path, rows: int) -> Path:
    """x float32[batch, 4] → y: tanh(x), and to each row the sum of all rows behind the first `rows`."""
    node, end = helper.make_node, 2**31 - 1
    weights = {
        name: np.array([value]) for name, value in (("first", rows), ("end", end), ("zero", 0))
    }
    graph = helper.make_graph(
        [
            node("Tanh", ["x"], ["t"]),
            node("Slice", ["t", "first", "end", "zero"], ["behind"]),
            node("ReduceSum", ["behind", "zero"], ["sum"]),
            node("Add", ["t", "sum"], ["y"]),
        ],
        "meeting",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path
