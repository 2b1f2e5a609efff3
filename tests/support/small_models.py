"""Tiny ONNX models, each for one question to a browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.helper import make_node, make_tensor_value_info

OPSET = 17

ONNX_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "float64": TensorProto.DOUBLE,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "int16": TensorProto.INT16,
    "uint16": TensorProto.UINT16,
    "int32": TensorProto.INT32,
    "uint32": TensorProto.UINT32,
    "int64": TensorProto.INT64,
    "uint64": TensorProto.UINT64,
    "bool": TensorProto.BOOL,
    "string": TensorProto.STRING,
}


def model(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: Sequence[Any] = (),
    *,
    domains: Sequence[str] = ("",),
) -> bytes:
    graph = helper.make_graph(list(nodes), "small", list(inputs), list(outputs), list(constants))
    opsets = [helper.make_opsetid(domain, OPSET if not domain else 1) for domain in domains]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(made.SerializeToString())


def identity(dtype: str, rank: int = 1) -> bytes:
    """y = x for any shape of that rank."""
    shape = [f"d{axis}" for axis in range(rank)]
    kind = ONNX_TYPES[dtype]
    return model(
        [make_node("Identity", ["x"], ["y"])],
        [make_tensor_value_info("x", kind, shape)],
        [make_tensor_value_info("y", kind, shape)],
    )


def scaled() -> bytes:
    """y = (x · w) * k, where the weights w and k are listed as inputs and have values: identity and 1."""
    return model(
        [make_node("MatMul", ["x", "w"], ["h"]), make_node("Mul", ["h", "k"], ["y"])],
        [
            make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4]),
            make_tensor_value_info("w", TensorProto.FLOAT, [4, 4]),
            make_tensor_value_info("k", TensorProto.FLOAT, []),
        ],
        [make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [
            numpy_helper.from_array(np.eye(4, dtype=np.float32), "w"),
            numpy_helper.from_array(np.array(1, np.float32), "k"),
        ],
    )


def declared(rows: int) -> bytes:
    """y = x · identity for [3, 4], declared as [rows, 4]."""
    return model(
        [make_node("MatMul", ["x", "w"], ["y"])],
        [make_tensor_value_info("x", TensorProto.FLOAT, [3, 4])],
        [make_tensor_value_info("y", TensorProto.FLOAT, [rows, 4])],
        [numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")],
    )


def relu() -> bytes:
    """y = max(x, 0), float32, one dynamic dimension."""
    return model(
        [make_node("Relu", ["x"], ["y"])],
        [make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
    )


def block(width: int = 64, seed: int = 0, dtype: str = "float32") -> bytes:
    """y = softmax(x W + b) W; x is [n, width] with n dynamic."""
    numbers = np.random.default_rng(seed)
    weight = (numbers.standard_normal((width, width)) / np.sqrt(width)).astype(dtype)
    kind = ONNX_TYPES[dtype]
    return model(
        [
            make_node("MatMul", ["x", "w"], ["a"], name="first"),
            make_node("Add", ["a", "b"], ["c"]),
            make_node("Softmax", ["c"], ["d"], axis=-1),
            make_node("MatMul", ["d", "w"], ["y"], name="second"),
        ],
        [make_tensor_value_info("x", kind, ["n", width])],
        [make_tensor_value_info("y", kind, ["n", width])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.ones(width, dtype), "b")],
    )


def division() -> bytes:
    """y = a / b in int32, where a quotient may be one that the type cannot hold."""
    kind = ONNX_TYPES["int32"]
    return model(
        [make_node("Div", ["a", "b"], ["y"])],
        [make_tensor_value_info(name, kind, ["n"]) for name in ("a", "b")],
        [make_tensor_value_info("y", kind, ["n"])],
    )


def with_cpu_node() -> bytes:
    """y = x W and the positions of its positive values, which WebGPU and WebNN leave to the CPU."""
    weight = np.random.default_rng(1).standard_normal((16, 16)).astype(np.float32)
    return model(
        [
            make_node("MatMul", ["x", "w"], ["y"]),
            make_node("Relu", ["y"], ["r"]),
            make_node("NonZero", ["r"], ["where"]),
        ],
        [make_tensor_value_info("x", TensorProto.FLOAT, [4, 16])],
        [
            make_tensor_value_info("y", TensorProto.FLOAT, [4, 16]),
            make_tensor_value_info("where", TensorProto.INT64, [2, "k"]),
        ],
        [numpy_helper.from_array(weight, "w")],
    )


def double_matmul() -> bytes:
    """A MatMul in float64: onnxruntime has it for WebAssembly alone."""
    weight = np.random.default_rng(2).standard_normal((16, 16))
    return model(
        [
            make_node("MatMul", ["x", "w"], ["m"]),
            make_node("Cast", ["m"], ["f"], to=TensorProto.FLOAT),
            make_node("Relu", ["f"], ["y"]),
        ],
        [make_tensor_value_info("x", TensorProto.DOUBLE, [4, 16])],
        [make_tensor_value_info("y", TensorProto.FLOAT, [4, 16])],
        [numpy_helper.from_array(weight, "w")],
    )


def scalar_sum() -> bytes:
    """y = a + b for scalars."""
    scalar = make_tensor_value_info
    return model(
        [make_node("Add", ["a", "b"], ["y"])],
        [scalar("a", TensorProto.FLOAT, []), scalar("b", TensorProto.FLOAT, [])],
        [scalar("y", TensorProto.FLOAT, [])],
    )


def scaler() -> bytes:
    """y = (x - [1, 2, 3]) * 2 for rows of three, by an operator of ai.onnx.ml."""
    node = make_node(
        "Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[1.0, 2.0, 3.0], scale=[2.0] * 3
    )
    return model(
        [node],
        [make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        domains=("", "ai.onnx.ml"),
    )


def unknown_operator() -> bytes:
    """A node of a domain that no runtime knows."""
    return model(
        [make_node("Frobnicate", ["x"], ["y"], domain="org.example")],
        [make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        domains=("", "org.example"),
    )


def slow(width: int = 256) -> bytes:
    """Multiply x by a matrix as often as `times` says: as slow as one likes."""
    weight = np.eye(width, dtype=np.float32)
    body = helper.make_graph(
        [
            make_node("MatMul", ["state", "w"], ["next"]),
            make_node("Identity", ["going"], ["still"]),
        ],
        "body",
        [
            make_tensor_value_info("turn", TensorProto.INT64, []),
            make_tensor_value_info("going", TensorProto.BOOL, []),
            make_tensor_value_info("state", TensorProto.FLOAT, [width, width]),
        ],
        [
            make_tensor_value_info("still", TensorProto.BOOL, []),
            make_tensor_value_info("next", TensorProto.FLOAT, [width, width]),
        ],
    )
    return model(
        [make_node("Loop", ["times", "", "x"], ["y"], body=body)],
        [
            make_tensor_value_info("times", TensorProto.INT64, []),
            make_tensor_value_info("x", TensorProto.FLOAT, [width, width]),
        ],
        [make_tensor_value_info("y", TensorProto.FLOAT, [width, width])],
        [numpy_helper.from_array(weight, "w")],
    )


def heavy(*, megabytes: float, seed: int) -> bytes:
    """y = x W for x [1, 1000] and a W of so many MB (10^6 bytes): slow to load, quick to run."""
    columns = round(megabytes * 1e6 / 4000)
    weight = np.random.default_rng(seed).standard_normal((1000, columns)).astype(np.float32)
    return model(
        [make_node("MatMul", ["x", "w"], ["y"])],
        [make_tensor_value_info("x", TensorProto.FLOAT, [1, 1000])],
        [make_tensor_value_info("y", TensorProto.FLOAT, [1, columns])],
        [numpy_helper.from_array(weight, "w")],
    )


def random_normal() -> bytes:
    """y = x + noise: no two answers are alike."""
    return model(
        [
            make_node("RandomNormalLike", ["x"], ["noise"]),
            make_node("Add", ["x", "noise"], ["y"]),
        ],
        [make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    )


def gated() -> bytes:
    """A GRU as PyTorch exports it, which WebNN in Chromium answers otherwise than onnxruntime."""
    numbers = np.random.default_rng(1)
    weights = {
        name: (numbers.standard_normal(shape) / 2).astype(np.float32)
        for name, shape in (("w", (1, 15, 4)), ("r", (1, 15, 5)), ("b", (1, 30)))
    }
    return model(
        [make_node("GRU", ["x", *weights], ["y"], hidden_size=5, linear_before_reset=1)],
        [make_tensor_value_info("x", TensorProto.FLOAT, ["t", "n", 4])],
        [make_tensor_value_info("y", TensorProto.FLOAT, ["t", 1, "n", 5])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )


def means_of_channels() -> bytes:
    """A picture's three channels, their means, and the picture once more."""
    sizes: list[str | int | None] = ["batch", 3, "h", "w"]
    return model(
        [
            make_node("ReduceMean", ["pixels"], ["scores"], axes=[2, 3], keepdims=0),
            make_node("Identity", ["pixels"], ["copy"]),
        ],
        [make_tensor_value_info("pixels", TensorProto.FLOAT, sizes)],
        [
            make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3]),
            make_tensor_value_info("copy", TensorProto.FLOAT, sizes),
        ],
    )


def endless() -> bytes:
    """A loop whose condition stays true: `onnxruntime` computes it for ever."""
    body = helper.make_graph(
        [make_node("Identity", ["c"], ["c2"]), make_node("Identity", ["s"], ["s2"])],
        "body",
        [
            make_tensor_value_info("i", TensorProto.INT64, []),
            make_tensor_value_info("c", TensorProto.BOOL, []),
            make_tensor_value_info("s", TensorProto.FLOAT, None),
        ],
        [
            make_tensor_value_info("c2", TensorProto.BOOL, []),
            make_tensor_value_info("s2", TensorProto.FLOAT, None),
        ],
    )
    return model(
        [make_node("Loop", ["", "t", "x"], ["y"], body=body)],
        [make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.array(True), "t")],
    )
