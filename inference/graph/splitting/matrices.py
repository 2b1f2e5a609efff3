"""Products with a matrix of weights, split by columns (each part makes some of the output) or by rows
(each part takes some of the input and makes a summand of the output)."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from inference.graph.splitting.splits import Flow, Shapes, Split
from inference.graph.standins import attributes

IsFixed = Callable[[str], bool]


def by_columns(
    node: onnx.NodeProto, shapes: Shapes, is_fixed: IsFixed, *, outer: int = 1
) -> Flow | None:
    """Split along the last axis of its output; None where the node is no such product."""
    made = shapes.of(node.output[0])
    if made is None or not _weights_known(node, shapes, is_fixed):
        return None
    out = {0: Split(len(made) - 1, outer)}
    if node.op_type == "MatMul":
        return Flow({1: Split(1, outer)}, out)
    if node.op_type == "Gather":
        return Flow({0: Split(1, outer)}, out)
    if node.op_type == "Gemm":
        inputs = {1: Split(0 if attributes(node).get("transB") else 1, outer)}
        bias = shapes.of(node.input[2]) if len(node.input) > 2 and node.input[2] else ()
        if bias and bias[-1] == made[-1]:
            inputs[2] = Split(len(bias) - 1, outer)
        return Flow(inputs, out)
    # MatMulNBits: the blocks of one column lie behind one another, so that columns are axis 0.
    inputs = {i: Split(0, outer) for i in (1, 2, 3, 5) if _has(node, i)}
    return Flow(inputs, out, scaled=("N",))


def by_rows(node: onnx.NodeProto, shapes: Shapes, is_fixed: IsFixed) -> Flow | None:
    """Split along the last axis of its first input; None where the node is no such product."""
    given = shapes.of(node.input[0])
    if given is None or node.op_type == "Gather" or not _weights_known(node, shapes, is_fixed):
        return None
    mine = Split(len(given) - 1)
    if node.op_type == "MatMul":
        return Flow({0: mine, 1: Split(0)}, {}, partial=True)
    found = attributes(node)
    if node.op_type == "Gemm":
        inputs = {0: mine, 1: Split(1 if found.get("transB") else 0)}
        return Flow(inputs, {}, first_only=(2,), partial=True)
    if found["K"] % found["block_size"]:
        return None
    blocks = found["K"] // found["block_size"]
    scales = shapes.of(node.input[2]) or ()
    # One row of scales for each column, in older files all of them behind one another.
    along = Split(1) if len(scales) > 1 else Split(0, found["N"])
    inputs = {0: mine, 1: Split(1), 2: along}
    if _has(node, 3):
        inputs[3] = Split(1) if len(shapes.of(node.input[3]) or ()) > 1 else Split(0, found["N"])
    return Flow(
        inputs, {}, units=(blocks,), scaled=("K",), uncounted=(3,), first_only=(5,), partial=True
    )


def packed_bits(node: onnx.NodeProto, position: int, dtype: int) -> int | None:
    """Bits of one element where several zero points share a byte; None where an element has its own."""
    if node.op_type != "MatMulNBits" or position != 3 or dtype != onnx.TensorProto.UINT8:
        return None
    bits = int(attributes(node)["bits"])
    return bits if bits < 8 else None


def _weights_known(node: onnx.NodeProto, shapes: Shapes, is_fixed: IsFixed) -> bool:
    """Whether it is one of the products that can be split, with its matrix fixed and of two axes."""
    if node.op_type == "MatMulNBits":
        return all(map(is_fixed, node.input[1:3])) and not _has(node, 4)
    at = 0 if node.op_type == "Gather" else 1
    if node.op_type not in ("MatMul", "Gemm", "Gather") or not is_fixed(node.input[at]):
        return False
    if node.op_type == "Gather" and attributes(node).get("axis", 0) != 0:
        return False
    if node.op_type == "Gemm" and attributes(node).get("transA"):
        return False
    return len(shapes.of(node.input[at]) or ()) == 2 and not is_fixed(node.input[1 - at])


def _has(node: onnx.NodeProto, position: int) -> bool:
    return len(node.input) > position and bool(node.input[position])
