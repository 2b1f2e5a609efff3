"""Matrix products of a graph: activations with a weight, or activations with one another."""

from __future__ import annotations

import onnx

from inference.graph.indexed import GraphIndex

PRODUCTS = frozenset(
    {"MatMul", "Gemm", "Einsum", "FusedMatMul", "FusedGemm", "MatMulNBits", "MatMulBnb4",
     "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm",
     "TransposeMatMul"}
)  # fmt: skip


def is_product(node: onnx.NodeProto) -> bool:
    return node.op_type in PRODUCTS and len(node.input) > 1


def weight_products(graph: GraphIndex) -> frozenset[int]:
    """Live nodes that multiply activations with a matrix of weights."""
    return frozenset(
        i
        for i in graph.live - graph.fixed
        if is_product(graph.nodes[i]) and any(map(graph.is_fixed, graph.nodes[i].input))
    )


def activation_products(graph: GraphIndex) -> frozenset[int]:
    """Live nodes that multiply activations with activations."""
    return frozenset(
        i
        for i in graph.live - graph.fixed
        if is_product(graph.nodes[i]) and not any(map(graph.is_fixed, graph.nodes[i].input))
    )
