"""How much arithmetic a node is, estimated from shapes: for balance between shards, never a measurement."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import onnx

from inference.graph.structure import bodies
from inference.graph.types import example_shapes

# Sizes assumed for dynamic dimensions: a batch of one, sequences of 128, bodies run eight times.
ASSUMED_FIRST, ASSUMED_OTHER, ASSUMED_TURNS = 1, 128, 8

RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
CONTROL = frozenset({"If", "Loop", "Scan"})
HEAVY = RECURRENT | {
    "MatMul", "Gemm", "Conv", "ConvTranspose", "MatMulInteger", "ConvInteger", "QLinearMatMul",
    "QLinearConv", "MatMulNBits", "Attention", "MultiHeadAttention", "GroupQueryAttention",
}  # fmt: skip
# Nodes that move or describe tensors: no shard is worth having for them alone.
MOVERS = frozenset(
    {"Identity", "Constant", "ConstantOfShape", "Shape", "Size", "Reshape", "Flatten", "Squeeze",
     "Unsqueeze", "Transpose", "Cast", "CastLike", "Expand", "Slice", "Split", "Concat", "Tile", "Pad",
     "Dropout", "Range", "SequenceConstruct", "SequenceAt", "SequenceEmpty", "SequenceInsert",
     "ConcatFromSequence", "SplitToSequence"}
)  # fmt: skip

# Nodes that work element by element or normalise rows: the runtime fuses them with what they follow.
FOLLOWERS = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Reciprocal", "Exp", "Log", "Neg", "Abs", "Erf", "Tanh",
     "Sigmoid", "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Gelu", "FastGelu", "BiasGelu",
     "QuickGelu", "HardSwish", "HardSigmoid", "Mish", "Softplus", "Softsign", "ThresholdedRelu", "Clip",
     "Min", "Max", "Where", "Cast", "Identity", "Softmax", "LogSoftmax", "LayerNormalization",
     "RMSNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization",
     "SkipSimplifiedLayerNormalization", "BatchNormalization", "InstanceNormalization",
     "GroupNormalization", "QuantizeLinear", "DequantizeLinear"}
)  # fmt: skip

Shape = tuple[int, ...]


def assumed(shape: Iterable[int | str]) -> Shape:
    """A shape with example sizes in place of the dynamic ones."""
    return tuple(
        size if isinstance(size, int) else (ASSUMED_FIRST if axis == 0 else ASSUMED_OTHER)
        for axis, size in enumerate(shape)
    )


def item_bytes(dtype: str) -> int:
    """Bytes of one element; strings are assumed to take 16."""
    return 16 if dtype == "string" else np.dtype(dtype).itemsize


def work(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> float:
    """Floating-point operations of one run of a node; unknown shapes count as one element."""
    inner = sum(work(child, shapes) for body in bodies(node) for child in body.node)
    out = float(sum(math.prod(shapes.get(name, (1,))) for name in node.output if name))
    turns = ASSUMED_TURNS if node.op_type in ("Loop", "Scan") else 1
    weight = shapes.get(node.input[1], ()) if len(node.input) > 1 else ()
    if node.op_type in RECURRENT and len(node.input) > 2 and weight:
        rows = math.prod(shapes.get(node.input[0], (1,))) / max(weight[-1], 1)
        return 2 * rows * sum(math.prod(shapes.get(name, (1,))) for name in node.input[1:3])
    if node.op_type in HEAVY and weight:
        if node.op_type == "ConvTranspose":
            data = shapes.get(node.input[0], (1,))
            return 2 * math.prod(data) * math.prod(weight[1:])
        if "Conv" in node.op_type:
            return 2 * out * math.prod(weight[1:])
        if node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute):
            return 2 * out * weight[-1]
        return 2 * out * (weight[-2] if len(weight) > 1 else weight[-1])
    return out + turns * inner


def model_work(model: onnx.ModelProto) -> float:
    """Floating-point operations of one run of a whole model at the assumed sizes."""
    shapes = example_shapes(model, first=ASSUMED_FIRST, other=ASSUMED_OTHER)
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return sum(work(node, shapes) for node in model.graph.node)
