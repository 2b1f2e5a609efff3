"""Tiny decoders as exporters write them: Optimum's plain and merged files, onnxruntime-genai's."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from inference.zoo.builder import FLOAT, INT64, MICROSOFT
from inference.zoo.graph import Port
from inference.zoo.layers.activations import silu
from inference.zoo.layers.net import Net
from inference.zoo.layers.rotary import rates, tables
from inference.zoo.precision import FLOAT32
from inference.zoo.weights import Seeded

LAYERS, HIDDEN, HEADS, GROUPS, SIZE, INNER, VOCABULARY, POSITIONS = 3, 64, 4, 2, 16, 48, 64, 128


def optimum() -> onnx.ModelProto:
    """As torch exports it: sizes are read off tokens, the first cache and activations; all rows' logits.

    It takes no position_ids, and shares masks between layers.
    """
    net = Net("optimum", FLOAT32, Seeded(3))
    hidden = net.embedding("embed", "input_ids", VOCABULARY, HIDDEN)
    length = _dim(net, "input_ids", 1)
    past = _dim(net, "past_key_values.0.key", 2)
    total = net.op("Add", past, length)
    one, zero = net.scalar(1, np.int64), net.scalar(0, np.int64)
    places = net.op("Range", past, total, one)
    keys = net.op("Unsqueeze", net.op("Range", zero, total, one), net.ints(0))
    ahead = net.op("Greater", keys, net.op("Unsqueeze", places, net.ints(1)))
    causal = net.op("Where", ahead, net.number(-10000.0), net.number(0.0))
    mask = net.op("Cast", "attention_mask", to=FLOAT)
    padded = net.op("Mul", net.op("Sub", net.number(1.0), mask), net.number(-10000.0))
    bias = net.op("Add", causal, net.op("Unsqueeze", padded, net.ints(1, 2)))
    table = net.tensor("positions.weight", POSITIONS, HIDDEN)
    hidden = net.op("Add", hidden, net.op("Gather", table, places))
    presents = []
    for layer in range(LAYERS):
        normal = net.rms_norm(f"{layer}.norm", hidden, HIDDEN, epsilon=1e-5)
        query = _heads(net, net.linear(f"{layer}.q", normal, HIDDEN, HIDDEN), normal)
        made = []
        for what in ("key", "value"):
            new = _heads(net, net.linear(f"{layer}.{what}", normal, HIDDEN, HIDDEN), normal)
            name = f"past_key_values.{layer}.{what}"
            present = f"present.{layer}.{what}"
            made.append(net.op("Concat", name, new, axis=-2, output=present))
        presents += made
        scores = net.op("MatMul", query, net.op("Transpose", made[0], perm=[0, 1, 3, 2]))
        weights = net.op("Softmax", net.op("Add", scores, bias), axis=-1)
        mixed = net.op("Transpose", net.op("MatMul", weights, made[1]), perm=[0, 2, 1, 3])
        shape = net.op("Concat", *_rows(net, normal), net.ints(HIDDEN), axis=0)
        mixed = net.linear(f"{layer}.o", net.op("Reshape", mixed, shape), HIDDEN, HIDDEN)
        hidden = _fed(net, layer, net.op("Add", hidden, mixed))
    hidden = net.rms_norm("norm", hidden, HIDDEN, epsilon=1e-5)
    logits = net.linear("lm_head", hidden, HIDDEN, VOCABULARY, bias=False)
    net.rename(logits, "logits")
    return net.model(*_ports(HEADS, presents))


def genai() -> onnx.ModelProto:
    """As onnxruntime-genai builds it: its own attention, sums passed on beside norms; all rows' logits."""
    net = Net("genai", FLOAT32, Seeded(4))
    hidden = net.embedding("embed", "input_ids", VOCABULARY, HIDDEN)
    total = net.op("ReduceSum", "attention_mask", net.ints(1), keepdims=0)
    last = net.op("Cast", net.op("Sub", total, net.scalar(1, np.int64)), to=TensorProto.INT32)
    length = net.op("Cast", _dim(net, "attention_mask", 1), to=TensorProto.INT32)
    turning = tables(net, POSITIONS, SIZE, lambda: rates(SIZE, 10_000.0))
    normal = net.rms_norm("0.norm", hidden, HIDDEN, epsilon=1e-5)
    presents = []
    for layer in range(LAYERS):
        parts = [
            net.linear(f"{layer}.{what}", normal, HIDDEN, heads * SIZE, bias=False)
            for what, heads in (("q", HEADS), ("k", GROUPS), ("v", GROUPS))
        ]
        states = [f"past_key_values.{layer}.{what}" for what in ("key", "value")]
        outputs = [f"{layer}.mixed", *(f"present.{layer}.{what}" for what in ("key", "value"))]
        mixed, *made = net.ops(
            "GroupQueryAttention", *parts, *states, last, length, *turning, outputs=outputs,
            domain=MICROSOFT, num_heads=HEADS, kv_num_heads=GROUPS, do_rotary=1,
        )  # fmt: skip
        presents += made
        mixed = net.linear(f"{layer}.o", mixed, HIDDEN, HIDDEN, bias=False)
        normal, hidden = _skip(net, f"{layer}.after", hidden, mixed)
        inner = silu(net, net.linear(f"{layer}.up", normal, HIDDEN, INNER, bias=False))
        made_of = net.linear(f"{layer}.down", inner, INNER, HIDDEN, bias=False)
        normal, hidden = _skip(net, f"{layer + 1}.norm", hidden, made_of)
    logits = net.linear("lm_head", normal, HIDDEN, VOCABULARY, bias=False)
    net.rename(logits, "logits")
    return net.model(*_ports(GROUPS, presents))


def merged(model: onnx.ModelProto) -> onnx.ModelProto:
    """A plain export as Optimum merges it: one If on `use_cache_branch`, weights outside."""
    graph = model.graph
    names = [item.name for item in graph.output]
    branches = []
    for name in ("then", "else"):
        body = onnx.GraphProto(name=name)
        for node in graph.node:
            copy = body.node.add()
            copy.CopyFrom(node)
            for names_of in (copy.input, copy.output):
                for at, one in enumerate(names_of):
                    made = any(one in other.output for other in graph.node)
                    names_of[at] = f"{name}_{one}" if made else one
        for item in graph.output:
            port = body.output.add()
            port.CopyFrom(item)
            port.name = f"{name}_{item.name}"
        branches.append(body)
    chosen = helper.make_node(
        "If", ["use_cache_branch"], names, then_branch=branches[0], else_branch=branches[1]
    )
    made = helper.make_graph(
        [chosen],
        "merged",
        [*graph.input, helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])],
        list(graph.output),
        list(graph.initializer),
    )
    return helper.make_model(
        made, opset_imports=list(model.opset_import), ir_version=model.ir_version
    )


def _ports(heads: int, presents: list[str]) -> tuple[list[Port], list[Port]]:
    states = [f"{layer}.{what}" for layer in range(LAYERS) for what in ("key", "value")]
    ids: list[int | str] = ["batch_size", "sequence_length"]
    inputs: list[Port] = [
        ("input_ids", INT64, ids),
        ("attention_mask", INT64, ["batch_size", "past_sequence_length + 1"]),
    ]
    before: list[int | str] = ["batch_size", heads, "past_sequence_length", SIZE]
    inputs += [(f"past_key_values.{state}", FLOAT, before) for state in states]
    outputs: list[Port] = [("logits", FLOAT, [*ids, VOCABULARY])]
    after: list[int | str] = ["batch_size", heads, "past_sequence_length + 1", SIZE]
    return inputs, [*outputs, *((name, FLOAT, after) for name in presents)]


def _dim(net: Net, name: str, axis: int) -> str:
    return net.op("Gather", net.op("Shape", name), net.scalar(axis, np.int64))


def _rows(net: Net, like: str) -> list[str]:
    return [net.op("Unsqueeze", _dim(net, like, axis), net.ints(0)) for axis in (0, 1)]


def _heads(net: Net, x: str, like: str) -> str:
    shape = net.op("Concat", *_rows(net, like), net.ints(HEADS), net.ints(SIZE), axis=0)
    return net.op("Transpose", net.op("Reshape", x, shape), perm=[0, 2, 1, 3])


def _fed(net: Net, layer: int, hidden: str) -> str:
    normal = net.rms_norm(f"{layer}.after", hidden, HIDDEN, epsilon=1e-5)
    inner = silu(net, net.linear(f"{layer}.up", normal, HIDDEN, INNER))
    return net.op("Add", hidden, net.linear(f"{layer}.down", inner, INNER, HIDDEN))


def _skip(net: Net, name: str, hidden: str, more: str) -> tuple[str, str]:
    made = net.ops(
        "SkipSimplifiedLayerNormalization", hidden, more, net.rms_weight(name, HIDDEN),
        outputs=[f"{name}.normal", "", "", f"{name}.sum"], domain=MICROSOFT, epsilon=1e-5,
    )  # fmt: skip
    return made[0], made[-1]
