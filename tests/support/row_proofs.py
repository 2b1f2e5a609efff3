"""Graphs whose rows are to stay apart: made of a few nodes, proved or not, and tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from inference.graph.batching.rows.proof import prove
from inference.graph.files import serialise
from inference.graph.indexed import GraphIndex
from inference.graph.model import normalise
from inference.graph.reference import equal
from inference.graph.runtime import session
from inference.graph.spec import TensorSpec

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
node = helper.make_node
RANDOM = np.random.default_rng(0)
WEIGHTS: dict[str, Any] = {
    "w": RANDOM.standard_normal((6, 6)), "w4": RANDOM.standard_normal((4, 4)),
    "bias": RANDOM.standard_normal(6), "ones": np.ones(6), "ones4": np.ones(4),
    "three": RANDOM.standard_normal((3, 4, 6)), "row": RANDOM.standard_normal((1, 4, 6)),
    "kernel": RANDOM.standard_normal((5, 4, 3)), "kernel2": RANDOM.standard_normal((3, 4, 3, 3)),
    "lstm": RANDOM.standard_normal((1, 16, 6)), "lstm_r": RANDOM.standard_normal((1, 16, 4)),
    "i0": np.array([0]), "i1": np.array([1]), "i2": np.array([2]), "neg": np.array([-1]),
    "s0": np.array(0), "s1": np.array(1), "s2": np.array(2), "s6": np.array(6), "end": np.array([2**62]),
    "to_24": np.array([0, 24]), "heads": np.array([0, 4, 2, 3]), "fold": np.array([-1, 8, 6]),
    "flat": np.array([-1, 6]), "back": np.array([-1, 4, 6]), "image": np.array([0, 4, 2, 3]),
    "halves": np.array([2, 4]), "pads": np.array([0, 1, 0, 0, 1, 0]), "deep": np.array([0, 0, 1, 1, 0, 0]),
    "depth": np.array(5), "on_off": np.array([0.0, 1.0]), "table": RANDOM.standard_normal((9, 3)),
    "scales": np.array([1.0, 1.0, 2.0, 2.0]), "empty": np.zeros(0), "half": np.array(0.5),
    "point": np.array(3, np.uint8), "bits": RANDOM.integers(0, 255, (6, 1, 16), np.uint8),
    "bit_scales": RANDOM.standard_normal((6, 1)), "cos": RANDOM.standard_normal((16, 3)),
}  # fmt: skip


def graph(nodes: Sequence[onnx.NodeProto], version: int = 17) -> onnx.ModelProto:
    """x float32[batch, 4, 6] and ids int64[batch, 4] → y, whose first axis is called batch."""
    made = helper.make_graph(
        list(nodes),
        "rows",
        [
            helper.make_tensor_value_info("x", FLOAT, ["batch", 4, 6]),
            helper.make_tensor_value_info("ids", INT64, ["batch", 4]),
        ],
        [helper.ValueInfoProto(name="y")],
        [
            numpy_helper.from_array(
                np.asarray(a, np.float32) if np.asarray(a).dtype.kind == "f" else np.asarray(a),
                name,
            )
            for name, a in WEIGHTS.items()
            if any(name in n.input for n in nodes)
        ],
    )
    opsets = [helper.make_opsetid("", version), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=10)
    normalise(model)
    return model


INPUTS = (TensorSpec("x", "float32", ("batch", 4, 6)), TensorSpec("ids", "int64", ("batch", 4)))


def why_not(model: onnx.ModelProto) -> str:
    return prove(GraphIndex(model), INPUTS, ("x", "ids"))


def batch_of(rows: int) -> dict[str, Any]:
    random = np.random.default_rng(rows)
    x = random.standard_normal((rows, 4, 6)).astype(np.float32)
    return {"x": x, "ids": random.integers(0, 4, (rows, 4))}


def apart(model: onnx.ModelProto, batches: Sequence[dict[str, Any]], split: Sequence[str]) -> None:
    """Check with onnxruntime that rows together answer as they do apart."""
    runtime = session(serialise(model))
    names = {item.name for item in runtime.get_inputs()}
    for together in batches:
        inputs = {name: array for name, array in together.items() if name in names}
        rows = len(inputs[split[0]])
        singles = [
            {n: a[at : at + 1] if n in split else a for n, a in inputs.items()}
            for at in range(rows)
        ]
        try:
            whole = runtime.run(None, inputs)
        except Fail:  # a graph that cannot be run; then single rows cannot either
            with pytest.raises(Fail):
                [runtime.run(None, one) for one in singles]
            continue
        for at, one in enumerate(singles):
            for answer, part in zip(whole, runtime.run(None, one), strict=True):
                assert len(answer) == rows
                assert equal(np.asarray(part), np.asarray(answer[at : at + 1]))
