"""A tiny file of each kind of number, deep enough to be cut, and a question to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

WIDTH, LAYERS = 16, 4
OPSET = 21
PRIME = np.int64(97)
POINT, SCALE, TENTH = np.uint8(128), np.float32(0.05), np.float32(0.1)
Array = np.ndarray[Any, Any]
Inputs = dict[str, Array]
node = helper.make_node


class _File:
    """A graph from x [rows, WIDTH] to y in the making."""

    def __init__(self, x: Array) -> None:
        self.random = np.random.default_rng(5)
        self.x, self.nodes, self.weights = x, list[NodeProto](), dict[str, Array]()

    def op(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        """The name of what a node gives; arrays become weights."""
        names = [one if isinstance(one, str) else self.weight(np.asarray(one)) for one in inputs]
        made = f"v{len(self.nodes)}"
        self.nodes.append(node(operator, names, [made], **attributes))
        return made

    def weight(self, array: Array) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = array
        return name

    def floats(self, dtype: type = np.float32, *shape: int) -> Array:
        made = self.random.standard_normal(shape or (WIDTH, WIDTH)) / np.sqrt(WIDTH)
        return np.asarray(made, dtype)

    def eight(self) -> Array:
        """Weights of 8 bits."""
        return self.whole(-99, 99, np.int8)

    def whole(self, low: int, high: int, dtype: type, *shape: int) -> Array:
        return self.random.integers(low, high, shape or (WIDTH, WIDTH)).astype(dtype)

    def save(self, path: Path, **outputs: type) -> tuple[Path, Inputs]:
        """Write it with outputs of these types, and give it with its question."""

        def port(name: str, dtype: Any) -> onnx.ValueInfoProto:
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            return helper.make_tensor_value_info(name, kind, ["rows", WIDTH])

        graph = helper.make_graph(
            self.nodes,
            "kind",
            [port("x", self.x.dtype)],
            [port(name, dtype) for name, dtype in outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
        return path, {"x": self.x}


def _floats(dtype: type) -> Callable[[Path], tuple[Path, Inputs]]:
    def make(path: Path) -> tuple[Path, Inputs]:
        file = _File(np.asarray(np.random.default_rng(6).standard_normal((3, WIDTH)), dtype))
        h = "x"
        for _ in range(LAYERS):
            h = file.op("Add", file.op("MatMul", h, file.floats(dtype)), file.floats(dtype, WIDTH))
            h = file.op("Tanh", h)
        return file.save(path, **{h: dtype})

    return make


def _whole(path: Path) -> tuple[Path, Inputs]:
    """int64 that goes on from layer to layer, int32 and booleans within each; all three are outputs."""
    file = _File(np.random.default_rng(6).integers(-99, 99, (3, WIDTH)))
    h = one = chosen = "x"
    for _ in range(LAYERS):
        product = file.op("MatMul", h, file.whole(-9, 9, np.int64))
        one = file.op("Mod", file.op("Sub", product, file.whole(0, 99, np.int64, WIDTH)), PRIME)
        one = file.op("Cast", one, to=TensorProto.INT32)
        one = file.op("Sub", file.op("Mul", one, one), file.whole(0, 3000, np.int32, WIDTH))
        chosen = file.op("Not", file.op("Greater", one, np.int32(900)))
        h = file.op("Where", chosen, file.op("Cast", one, to=TensorProto.INT64), h)
    return file.save(path, **{h: np.int64, one: np.int32, chosen: np.bool_})


def _quantised(path: Path) -> tuple[Path, Inputs]:
    """Each way to write 8 bits: around floats, in operators of their own, and by scales found at run time."""
    file = _File(np.random.default_rng(6).standard_normal((3, WIDTH)).astype(np.float32))
    h = "x"
    for layer in (_qdq, _qlinear, _dynamic, _qdq):
        h = layer(file, h)
    return file.save(path, **{h: np.float32})


def _qdq(file: _File, h: str) -> str:
    weights = file.op("DequantizeLinear", file.eight(), np.float32(0.005), np.int8(0))
    h = _through(file, file.op("MatMul", _through(file, h), weights))
    return _through(file, file.op("Sigmoid", h))


def _through(file: _File, h: str) -> str:
    quantised = file.op("QuantizeLinear", h, SCALE, POINT)
    return file.op("DequantizeLinear", quantised, SCALE, POINT)


def _qlinear(file: _File, h: str) -> str:
    weights = (file.eight(), np.float32(0.005), np.int8(0))
    quantised = file.op("QuantizeLinear", h, SCALE, POINT)
    product = file.op("QLinearMatMul", quantised, SCALE, POINT, *weights, SCALE, POINT)
    return file.op("DequantizeLinear", product, SCALE, POINT)


def _dynamic(file: _File, h: str) -> str:
    quantised = [f"{part}{len(file.nodes)}" for part in ("q", "scale", "point")]
    file.nodes.append(node("DynamicQuantizeLinear", [h], quantised))
    number, scale, point = quantised
    product = file.op("MatMulInteger", number, file.eight(), point, np.int8(0))
    factor = file.op("Mul", scale, np.float32(0.005))
    h = file.op("Mul", file.op("Cast", product, to=TensorProto.FLOAT), factor)
    return file.op("Relu", file.op("Add", h, file.floats(np.float32, WIDTH)))


def _narrow(path: Path) -> tuple[Path, Inputs]:
    """Between any two layers lies a tensor of a type that cannot travel."""
    file = _File(np.random.default_rng(6).standard_normal((3, WIDTH)).astype(np.float32))
    h = "x"
    for kind in (TensorProto.BFLOAT16, TensorProto.INT4, TensorProto.UINT4, TensorProto.BFLOAT16):
        h = file.op("Tanh", file.op("MatMul", h, file.floats()))
        if kind == TensorProto.BFLOAT16:
            h = file.op("Cast", file.op("Cast", h, to=kind), to=TensorProto.FLOAT)
        else:
            h = file.op("QuantizeLinear", h, TENTH, output_dtype=kind)
            h = file.op("DequantizeLinear", h, TENTH)
    return file.save(path, **{h: np.float32})


KINDS: dict[str, Callable[[Path], tuple[Path, Inputs]]] = {
    "float16": _floats(np.float16),
    "float64": _floats(np.float64),
    "whole": _whole,
    "quantised": _quantised,
    "narrow": _narrow,
}
