"""Which rule an operator follows."""

from __future__ import annotations

from collections.abc import Callable

from inference.graph.batching.rows import (
    attention,
    elementwise,
    features,
    layers,
    lookups,
    products,
    shaping,
)
from inference.graph.batching.rows.values import Operation, Value

Rule = Callable[[Operation], list[Value]]
_MICROSOFT = "com.microsoft"

_ONNX: dict[str, Rule] = {
    **dict.fromkeys(elementwise.UNARY - {"QuickGelu"}, elementwise.unary),
    **dict.fromkeys(elementwise.BROADCASTING - {"BiasGelu", "FastGelu"}, elementwise.broadcasting),
    "MatMul": products.matmul,
    "MatMulInteger": products.matmul_integer,
    "QLinearMatMul": products.qlinear_matmul,
    "Gemm": products.gemm,
    "Einsum": products.einsum,
    **dict.fromkeys(("Conv", "ConvInteger", "ConvTranspose"), products.convolution),
    "QLinearConv": products.qlinear_convolution,
    **dict.fromkeys(("AveragePool", "LpPool", "MaxPool"), products.pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool"), products.global_pool),
    **dict.fromkeys(
        ("BatchNormalization", "GroupNormalization", "InstanceNormalization", "LRN"), products.of_images
    ),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), products.blocks),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), products.quantise),
    "Transpose": shaping.transpose,
    "Reshape": shaping.reshape,
    "Flatten": shaping.flatten,
    "Unsqueeze": shaping.unsqueeze,
    "Squeeze": shaping.squeeze,
    "Expand": shaping.expand,
    "Tile": shaping.tile,
    "Concat": shaping.concat,
    "Split": shaping.split,
    "Slice": shaping.slice_,
    "Pad": shaping.pad,
    **dict.fromkeys(("Resize", "Upsample"), shaping.resize),
    "Gather": lookups.gather,
    "GatherElements": lookups.gather_elements,
    "GatherND": lookups.gather_nd,
    "OneHot": lookups.one_hot,
    "TopK": lookups.top_k,
    "CumSum": lookups.cumulative_sum,
    "Trilu": lookups.triangle,
    "ConstantOfShape": lookups.constant_of_shape,
    "Range": lookups.numbers,
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), layers.softmax),
    "LpNormalization": layers.one_axis,
    **dict.fromkeys(
        ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"), layers.normalisation
    ),
    **dict.fromkeys(
        ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
         "ReduceProd", "ReduceSum", "ReduceSumSquare"),
        layers.reduction,
    ),
    **dict.fromkeys(("ArgMax", "ArgMin"), layers.arg_reduction),
    **dict.fromkeys(("RNN", "GRU", "LSTM"), layers.recurrent),
    "Dropout": layers.dropout,
    "RotaryEmbedding": layers.rotary_of_onnx,
    "Attention": attention.of_onnx,
}  # fmt: skip
_OF_MICROSOFT: dict[str, Rule] = {
    **dict.fromkeys(("Gelu", "QuickGelu"), elementwise.unary),
    **dict.fromkeys(("BiasGelu", "FastGelu"), elementwise.broadcasting),
    "MatMulNBits": products.nbits,
    "GatherBlockQuantized": lookups.gather_quantised,
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), products.quantise),
    **dict.fromkeys(
        ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), layers.skip_normalisation
    ),
    "SimplifiedLayerNormalization": layers.normalisation,
    "RotaryEmbedding": layers.rotary,
    "MultiHeadAttention": attention.multi_head,
    "GroupQueryAttention": attention.grouped,
    "Attention": attention.with_weights,
}
_OF_FEATURES: dict[str, Rule] = {
    **dict.fromkeys(("Scaler", "Normalizer"), features.of_samples),
    **dict.fromkeys(("Binarizer", "LabelEncoder"), features.elementwise),
    **dict.fromkeys(
        ("LinearRegressor", "SVMRegressor", "TreeEnsembleRegressor"), features.regressor
    ),
    **dict.fromkeys(
        ("LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier"), features.classifier
    ),
    "ArrayFeatureExtractor": features.extractor,
}
# Inputs that may count the rows of the batch: the rule looks at what is counted.
COUNTS = {"Reshape": (1,), "Expand": (1,), "Tile": (1,), "ConstantOfShape": (0,), "Resize": (3,)}


def rule_of(domain: str, operator: str) -> Rule | None:
    """The rule of an operator; None: there is none, so that nothing is known of what it makes."""
    if domain in ("", "ai.onnx"):
        return _ONNX.get(operator)
    foreign = {_MICROSOFT: _OF_MICROSOFT, "ai.onnx.ml": _OF_FEATURES}
    return foreign.get(domain, {}).get(operator)
