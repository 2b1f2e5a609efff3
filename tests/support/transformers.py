"""Small seeded transformers with everything in which real ones differ, whole or as outlines without weights.

Their blocks are written the ways exporters write them: norms before or after, decomposed or fused; biases
or none; one matrix for query, key and value or three; grouped heads; rotation; relative positions;
cross-attention; gated feed-forward parts; attention as plain operators or as one fused operator; weights
in float32 or packed to 4 or 8 bits.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
MICROSOFT = "com.microsoft"
Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class Shape:
    """What kind of transformer.

    Attributes:
        bits: of quantised weights, None for float32.
        fused_qkv: "" three matrices, "split" one and a Split, "gather" one and a Reshape with Gathers.
        fused: attention, norms and rotation as operators of com.microsoft (GroupQueryAttention with a cache).
        exported: heads are parted and joined by shapes read in the graph from what is reshaped.
        cross: every block attends to the input `memory` too.
        outline: weights have a type and shape and name a file that does not exist.
    """

    layers: int = 2
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 4
    inner: int = 128
    vocabulary: int = 96
    pre_norm: bool = True
    rms: bool = False
    gated: bool = False
    bias: bool = True
    rotary: bool = False
    relative: bool = False
    cross: bool = False
    fused_qkv: str = ""
    gemm: bool = False
    exported: bool = False
    fused: bool = False
    tied: bool = False
    bits: int | None = None
    block: int = 32
    zero_points: bool = False
    outline: bool = False

    @property
    def head(self) -> int:
        return self.hidden // self.heads


KINDS = {
    "bert": Shape(pre_norm=False),
    "gpt2": Shape(fused_qkv="split", tied=True),
    "vit": Shape(fused_qkv="gather"),
    "llama": Shape(kv_heads=2, rms=True, gated=True, bias=False, rotary=True),
    "t5": Shape(rms=True, bias=False, relative=True, cross=True),
    "whisper": Shape(cross=True),
    "exported": Shape(exported=True, pre_norm=False),
    "gemm": Shape(gemm=True, pre_norm=False),
    "int4": Shape(kv_heads=2, rms=True, gated=True, bias=False, rotary=True, bits=4),
    "int8": Shape(bits=8, zero_points=True),
    "int4-blocks": Shape(bits=4, block=16, zero_points=True, bias=False, rms=True, gated=True),
    "fused": Shape(kv_heads=2, rms=True, gated=True, bias=False, fused=True),
    "fused-int4": Shape(kv_heads=2, rms=True, gated=True, bias=False, fused=True, bits=4),
}


def transformer(shape: Shape, seed: int = 0) -> onnx.ModelProto:
    """Inputs ids int64[batch, sequence] (and memory, past_*); outputs logits and the last hidden state."""
    return _Builder(shape, seed).model()


def inputs(shape: Shape, seed: int = 0) -> dict[str, Array]:
    """Inputs of two rows of five tokens."""
    random = np.random.default_rng(seed)
    given: dict[str, Array] = {"ids": random.integers(0, shape.vocabulary, (2, 5))}
    if shape.cross:
        given["memory"] = random.standard_normal((2, 7, shape.hidden)).astype(np.float32)
    if shape.fused:
        given["lengths"] = np.full((2, 1), 4, np.int32)
        given["total"] = np.array(5, np.int32)
        for i in range(shape.layers):
            for what in ("key", "value"):
                given[f"past_{what}_{i}"] = np.zeros((2, shape.kv_heads, 0, shape.head), np.float32)
    return given


class _Builder:
    def __init__(self, shape: Shape, seed: int) -> None:
        self.s, self.random = shape, np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, TensorProto] = {}
        self.inputs = [port("ids", "batch", "length", kind=TensorProto.INT64)]
        self.outputs: list[onnx.ValueInfoProto] = []
        self.count = 0

    # --- pieces ----------------------------------------------------------------------------------

    def op(
        self, kind: str, *given: str, outputs: int = 1, domain: str = "", **attributes: Any
    ) -> str:
        self.count += 1
        names = [f"v{self.count}" + (f"_{i}" if i else "") for i in range(outputs)]
        node = helper.make_node(kind, list(given), names, domain=domain, **attributes)
        self.nodes.append(node)
        return names[0]

    def microsoft(self, kind: str, *given: str, outputs: int = 1, **attributes: Any) -> str:
        return self.op(kind, *given, outputs=outputs, domain=MICROSOFT, **attributes)

    def constant(self, array: Array) -> str:
        name = f"c{len(self.tensors)}"
        self.tensors[name] = numpy_helper.from_array(array, name)
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def scalar(self, value: int) -> str:
        return self.constant(np.array(value, np.int64))

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def weight(
        self, *dims: int, dtype: Any = np.float32, scale: float = 0.2, mean: float = 0
    ) -> str:
        name = f"w{len(self.tensors)}"
        if self.s.outline:
            tensor = TensorProto(
                name=name, dims=dims, data_type=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)),
                data_location=TensorProto.EXTERNAL,
            )  # fmt: skip
            tensor.external_data.add(key="location", value="nowhere.bin")
        elif dtype == np.uint8:
            tensor = numpy_helper.from_array(
                self.random.integers(0, 256, dims, dtype=np.uint8), name
            )
        else:
            array = mean + self.random.standard_normal(dims) * scale
            tensor = numpy_helper.from_array(array.astype(dtype), name)
        self.tensors[name] = tensor
        return name

    def linear(self, x: str, rows: int, columns: int, *, bias: bool | None = None) -> str:
        biased = self.s.bias if bias is None else bias
        if self.s.bits:
            return self.quantised(x, rows, columns, biased)
        if self.s.gemm:
            flat = self.op("Reshape", x, self.ints(-1, rows))
            given = [flat, self.weight(columns, rows)] + ([self.weight(columns)] if biased else [])
            product = self.op("Gemm", *given, transB=1)
            shape = self.op("Concat", self.op("Shape", x, end=2), self.ints(columns), axis=0)
            return self.op("Reshape", product, shape)
        product = self.op("MatMul", x, self.weight(rows, columns))
        return self.op("Add", product, self.weight(columns)) if biased else product

    def quantised(self, x: str, rows: int, columns: int, biased: bool) -> str:
        s, bits = self.s, self.s.bits or 4
        blocks = -(-rows // s.block)
        packed = self.weight(columns, blocks, s.block * bits // 8, dtype=np.uint8)
        scales = self.weight(columns, blocks, scale=0.004 if bits == 4 else 0.0004)
        given = [x, packed, scales]
        if s.zero_points:
            given.append(self.weight(columns, -(-blocks * bits // 8), dtype=np.uint8))
        product = self.microsoft(
            "MatMulNBits", *given, K=rows, N=columns, bits=bits, block_size=s.block
        )
        return self.op("Add", product, self.weight(columns)) if biased else product

    def norm(self, x: str) -> str:
        s = self.s
        scale = self.weight(s.hidden, mean=1)
        if s.fused:
            return self.op("SimplifiedLayerNormalization", x, scale, axis=-1, epsilon=1e-5)
        if not s.rms:
            return self.op("LayerNormalization", x, scale, self.weight(s.hidden), axis=-1)
        mean = self.op("ReduceMean", self.op("Pow", x, self.number(2)), axes=[-1], keepdims=1)
        root = self.op("Sqrt", self.op("Add", mean, self.number(1e-5)))
        return self.op("Mul", scale, self.op("Div", x, root))

    # --- attention -------------------------------------------------------------------------------

    def attention(self, x: str, memory: str | None, layer: int) -> str:
        s = self.s
        if s.fused and memory is None:
            return self.fused_attention(x, layer)
        if s.fused_qkv and memory is None:
            query, key, value = self.one_matrix(x)
        else:
            source = x if memory is None else memory
            width = s.kv_heads * s.head
            query = self.heads(self.linear(x, s.hidden, s.hidden), s.heads)
            key = self.heads(self.linear(source, s.hidden, width), s.kv_heads)
            value = self.heads(self.linear(source, s.hidden, width), s.kv_heads)
        if s.rotary:
            query, key = self.rotated(query), self.rotated(key)
        if s.kv_heads < s.heads and not (s.fused_qkv and memory is None):
            key, value = self.repeated(key), self.repeated(value)
        scores = self.op("MatMul", query, self.op("Transpose", key, perm=[0, 1, 3, 2]))
        scores = self.op("Mul", scores, self.number(s.head**-0.5))
        if s.relative and memory is None:
            scores = self.op("Add", scores, self.positions)
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), value)
        mixed = self.op("Transpose", mixed, perm=[0, 2, 1, 3])
        return self.linear(self.reshaped(mixed, s.hidden), s.hidden, s.hidden)

    def reshaped(self, x: str, *inner: int) -> str:
        """[batch, length, …] → [batch, length, *inner]."""
        if not self.s.exported:
            return self.op("Reshape", x, self.ints(0, 0, *inner))
        axis = self.ints(0)
        outer = [
            self.op("Unsqueeze", self.op("Gather", self.op("Shape", x), self.scalar(i)), axis)
            for i in range(2)
        ]
        return self.op("Reshape", x, self.op("Concat", *outer, self.ints(*inner), axis=0))

    def heads(self, x: str, count: int) -> str:
        split = self.reshaped(x, count, self.s.head)
        return self.op("Transpose", split, perm=[0, 2, 1, 3])

    def one_matrix(self, x: str) -> tuple[str, str, str]:
        s = self.s
        qkv = self.linear(x, s.hidden, 3 * s.hidden)
        if s.fused_qkv == "split":
            first = self.op("Split", qkv, self.ints(*[s.hidden] * 3), outputs=3, axis=2)
            query, key, value = (
                self.heads(name, s.heads) for name in (first, f"{first}_1", f"{first}_2")
            )
            return query, key, value
        five = self.op("Reshape", qkv, self.ints(0, 0, 3, s.heads, s.head))
        five = self.op("Transpose", five, perm=[2, 0, 3, 1, 4])
        query, key, value = (
            self.op("Gather", five, self.constant(np.array(i, np.int64)), axis=0) for i in range(3)
        )
        return query, key, value

    def rotated(self, x: str) -> str:
        """x · cos + (-second half, first half) · sin, over [batch, heads, length, head]."""
        half, end = self.s.head // 2, self.s.head
        axis = self.ints(3)
        left = self.op("Slice", x, self.ints(0), self.ints(half), axis)
        right = self.op("Slice", x, self.ints(half), self.ints(end), axis)
        turned = self.op("Concat", self.op("Neg", right), left, axis=-1)
        return self.op(
            "Add", self.op("Mul", x, self.angles[0]), self.op("Mul", turned, self.angles[1])
        )

    def repeated(self, x: str) -> str:
        """[batch, kv heads, length, head] → [batch, heads, length, head], each kv head several times."""
        s = self.s
        each = self.op("Unsqueeze", x, self.ints(2))
        each = self.op("Expand", each, self.ints(1, 1, s.heads // s.kv_heads, 1, 1))
        return self.op("Reshape", each, self.ints(0, s.heads, -1, s.head))

    def fused_attention(self, x: str, layer: int) -> str:
        s = self.s
        width = s.kv_heads * s.head
        past = [f"past_{what}_{layer}" for what in ("key", "value")]
        for name in past:
            self.inputs.append(port(name, "batch", s.kv_heads, "past", s.head))
        mixed = self.microsoft(
            "GroupQueryAttention", self.linear(x, s.hidden, s.hidden),
            self.linear(x, s.hidden, width), self.linear(x, s.hidden, width), *past,
            "lengths", "total", *self.tables,
            outputs=3, num_heads=s.heads, kv_num_heads=s.kv_heads, do_rotary=1, scale=s.head**-0.5,
        )  # fmt: skip
        for i in (1, 2):
            self.outputs.append(port(f"{mixed}_{i}", "batch", s.kv_heads, "all", s.head))
        return self.linear(mixed, s.hidden, s.hidden)

    # --- the whole -------------------------------------------------------------------------------

    def feed_forward(self, x: str) -> str:
        s = self.s
        up = self.linear(x, s.hidden, s.inner)
        if s.gated:
            gate = self.linear(x, s.hidden, s.inner)
            up = self.op("Mul", self.op("Mul", gate, self.op("Sigmoid", gate)), up)
        else:
            up = self.op("Mul", up, self.op("Sigmoid", up))
        return self.linear(up, s.inner, s.hidden)

    def residual(self, x: str, part: Any) -> str:
        if self.s.pre_norm:
            return self.op("Add", x, part(self.norm(x)))
        return self.norm(self.op("Add", x, part(x)))

    def model(self) -> onnx.ModelProto:
        s = self.s
        table = self.weight(s.vocabulary, s.hidden)
        x = self.op("Gather", table, "ids")
        self.prepare()
        if s.cross:
            self.inputs.append(port("memory", "batch", "source", s.hidden))
        for layer in range(s.layers):
            x = self.residual(x, lambda h, layer=layer: self.attention(h, None, layer))
            if s.cross:
                x = self.residual(x, lambda h, layer=layer: self.attention(h, "memory", layer))
            x = self.residual(x, self.feed_forward)
        x = self.norm(x)
        if s.tied:
            logits = self.op("MatMul", x, self.op("Transpose", table, perm=[1, 0]))
        else:
            logits = self.linear(x, s.hidden, s.vocabulary, bias=False)
        self.outputs += [
            port(logits, "batch", "length", s.vocabulary),
            port(x, "batch", "length", s.hidden),
        ]
        graph = helper.make_graph(
            self.nodes, "toy", self.inputs, self.outputs, list(self.tensors.values())
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)

    def prepare(self) -> None:
        """What all blocks share: angles of the rotation, relative positions, fused inputs."""
        s, op = self.s, self.op
        axis = self.ints(0)
        row = op("Squeeze", op("Slice", "ids", self.ints(0), self.ints(1), axis), axis)
        zeros = op("Mul", op("Cast", row, to=TensorProto.FLOAT), self.number(0))
        ones = op("Add", zeros, self.number(1))
        place = op("CumSum", ones, self.constant(np.array(0, np.int64)))
        standing, lying = op("Unsqueeze", place, self.ints(1)), op("Unsqueeze", place, axis)
        if s.rotary:
            frequency = np.tile(0.5 ** np.arange(s.head // 2), 2).astype(np.float32)
            angle = op("Mul", standing, self.constant(frequency))
            self.angles = [op("Cos", angle), op("Sin", angle)]
        if s.relative:
            ahead = op("Add", op("Sub", lying, standing), self.number(4))
            bucket = op(
                "Cast", op("Clip", ahead, self.number(0), self.number(7)), to=TensorProto.INT64
            )
            bias = op("Gather", self.weight(8, s.heads), bucket)
            self.positions = op("Unsqueeze", op("Transpose", bias, perm=[2, 0, 1]), axis)
        if s.fused:
            self.inputs.append(port("lengths", "batch", 1, kind=TensorProto.INT32))
            self.inputs.append(port("total", kind=TensorProto.INT32))
            angles = np.outer(np.arange(64), 0.5 ** np.arange(s.head // 2))
            self.tables = [self.constant(f(angles).astype(np.float32)) for f in (np.cos, np.sin)]


def port(name: str, *dims: int | str, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, dims)
