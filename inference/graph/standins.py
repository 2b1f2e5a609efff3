"""Operators that onnx's shape inference does not know, replaced by ones of which it finds the same shapes.

onnxruntime's own inference knows them too, but wants the weights; a plan is made without them.
Only types and shapes of a replaced graph mean anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import onnx
from onnx import TensorProto, helper

from inference.documents import JsonObject

_MICROSOFT = "com.microsoft"
# Output 0 is like input 0; where there is a fourth output it is like input 0 too (the sum with the skip).
_LIKE_FIRST = frozenset(
    {"BiasGelu", "FastGelu", "Gelu", "QuickGelu", "RotaryEmbedding", "SimplifiedLayerNormalization",
     "SkipLayerNormalization", "SkipSimplifiedLayerNormalization"}
)  # fmt: skip
_NOT_OF_ONNX = frozenset({"SimplifiedLayerNormalization"})  # of its domain, yet onnxruntime's


def replace_foreign(graph: onnx.GraphProto) -> None:
    """Replace what can be replaced; the rest stays, with outputs of unknown type."""
    dims = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    made = _Made(dims)
    nodes = list(graph.node)
    foreign = [n for n in nodes if n.domain == _MICROSOFT or n.op_type in _NOT_OF_ONNX]
    if not foreign:
        return
    del graph.node[:]
    for node in nodes:
        foreign_node = node.domain == _MICROSOFT or node.op_type in _NOT_OF_ONNX
        replaced = list(made.instead_of(node)) if foreign_node else []
        graph.node.extend(replaced or [node])
    graph.initializer.extend(made.tensors.values())


class _Made:
    """Nodes in place of foreign ones, and the tensors they need."""

    def __init__(self, dims: Mapping[str, tuple[int, ...]]) -> None:
        self.dims, self.tensors = dims, dict[str, TensorProto]()
        self._count = 0

    def instead_of(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        rules: dict[str, Callable[[onnx.NodeProto], Iterator[onnx.NodeProto]]] = {
            "MatMulNBits": self._packed_product,
            "GroupQueryAttention": self._grouped_attention,
            "MultiHeadAttention": self._attention,
            "Attention": self._attention_with_weights,
        }
        if node.op_type in _LIKE_FIRST:
            for at in (0, 3):
                if len(node.output) > at and node.output[at]:
                    yield helper.make_node("Identity", node.input[:1], [node.output[at]])
        elif rule := rules.get(node.op_type):
            yield from rule(node)

    def _packed_product(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        given = attributes(node)
        matrix = self._matrix(given["K"], given["N"])
        yield helper.make_node("MatMul", [node.input[0], matrix], node.output[:1])

    def _grouped_attention(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Query, key and value apart; packed into one they stay unknown."""
        if len(node.input) < 3 or not (node.input[1] and node.input[2]):
            return
        yield helper.make_node("Identity", node.input[:1], node.output[:1])
        shape = self._ints(0, 0, attributes(node)["kv_num_heads"], -1)
        for new, past, present in zip(
            node.input[1:3], node.input[3:5], node.output[1:], strict=False
        ):
            split, turned = self._name(), self._name()
            yield helper.make_node("Reshape", [new, shape], [split])
            yield helper.make_node("Transpose", [split], [turned], perm=[0, 2, 1, 3])
            parts = [past, turned] if past else [turned]
            yield helper.make_node("Concat", parts, [present], axis=2)

    def _attention(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """[batch, length, as wide as the values]."""
        if len(node.input) < 3 or not (node.input[1] and node.input[2]):
            return
        turned, scores = self._name(), self._name()
        yield helper.make_node("Transpose", [node.input[1]], [turned], perm=[0, 2, 1])
        yield helper.make_node("MatMul", [node.input[0], turned], [scores])
        yield helper.make_node("MatMul", [scores, node.input[2]], node.output[:1])

    def _attention_with_weights(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """One matrix of weights for query, key and value."""
        sizes = attributes(node).get("qkv_hidden_sizes")
        dims = self.dims.get(node.input[1], ())
        if len(dims) == 2:
            matrix = self._matrix(dims[0], sizes[2] if sizes else dims[1] // 3)
            yield helper.make_node("MatMul", [node.input[0], matrix], node.output[:1])

    def _matrix(self, rows: int, columns: int) -> str:
        name = f"\0matrix_{rows}_{columns}"
        self.tensors[name] = TensorProto(
            name=name, data_type=TensorProto.FLOAT, dims=[rows, columns]
        )
        return name

    def _ints(self, *values: int) -> str:
        name = "\0ints_" + "_".join(map(str, values))
        self.tensors[name] = helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        return name

    def _name(self) -> str:
        self._count += 1
        return f"\0made_{self._count}"


def attributes(node: onnx.NodeProto) -> JsonObject:
    """A node's attributes by name."""
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}
