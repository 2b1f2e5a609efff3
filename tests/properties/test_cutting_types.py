"""Cuts of graphs of every kind of number: the bits of the whole; what cannot travel crosses none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

from inference.graph.cutting.blocks import plan_attention_feedforward
from inference.graph.cutting.cut import plan_layers
from inference.graph.splitting.tensor import plan_tensor
from inference.graph.steps import Step, TooManyShards
from tests.support.kinds import KINDS
from tests.support.shards import (
    assert_shards_equal_whole,
    assert_steps_equal_whole,
    run_shards,
    write_shards,
)
from tests.support.transformers import KINDS as TRANSFORMERS
from tests.support.transformers import inputs, transformer

NARROW = [TensorProto.BFLOAT16, TensorProto.INT4, TensorProto.UINT4]
NAMES = ["bfloat16", "int4", "uint4"]
STRATEGIES: dict[str, Callable[[Path], Sequence[Step]]] = {
    "layer": lambda path: plan_layers(path, 3),
    "attention_feedforward": plan_attention_feedforward,
    "tensor": lambda path: plan_tensor(path, 2),
}


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"float16"}))
def test_each_number_of_shards_gives_the_bits_of_the_whole(kind: str, tmp_path: Path) -> None:
    path, given = KINDS[kind](tmp_path / "m.onnx")
    assert assert_shards_equal_whole(path, given, tmp_path / "files") >= 4


def test_of_float16_a_cut_rounds_what_the_whole_does_not(tmp_path: Path) -> None:
    """onnxruntime computes such nodes in float32, and rounds what leaves the graph: a cut is such a place.

    The whole that is made to round there has the bits of the shards.
    """
    path, given = KINDS["float16"](tmp_path / "m.onnx")
    plan = plan_layers(path, 2)
    y = run_shards(write_shards(path, plan, tmp_path / "files"), given)["v11"]
    (crossing,) = plan[1].crossing
    optimised = tmp_path / "optimised.onnx"
    assert answer(path, given, kept=optimised).tobytes() != y.tobytes()
    model = onnx.load(optimised)
    inner = f"InsertedPrecisionFreeCast_{crossing}"
    place = next(i for i, node in enumerate(model.graph.node) if inner in node.output)
    for node in model.graph.node:
        node.input[:] = ["wide" if name == inner else name for name in node.input]
    model.graph.node.insert(place + 1, cast(inner, "half", TensorProto.FLOAT16))
    model.graph.node.insert(place + 2, cast("half", "wide", TensorProto.FLOAT))
    onnx.save(model, optimised)
    assert answer(optimised, given).tobytes() == y.tobytes()


def cast(value: str, to: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [value], [to], to=kind)


def answer(path: Path, given: dict[str, np.ndarray], *, kept: Path | None = None) -> np.ndarray:
    """Of the only output; `kept`: where the optimised graph is written, else nothing is optimised."""
    options = SessionOptions()
    options.log_severity_level = 4
    if kept is None:
        options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    else:
        options.optimized_model_filepath = str(kept)
    session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (made,) = session.run(None, given)
    return np.asarray(made)


def narrowed(model: onnx.ModelProto, kind: int) -> onnx.ModelProto:
    """Every sum is kept in that type, and widened by each node that reads it."""
    ports = {item.name for item in model.graph.output}
    nodes: list[onnx.NodeProto] = []
    kept: set[str] = set()
    half = kind == TensorProto.BFLOAT16
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name in kept:
                wide = f"{name}_{len(nodes)}"
                read = [f"{name}_narrow", "scale"], [wide]
                nodes.append(
                    cast(f"{name}_narrow", wide, TensorProto.FLOAT)
                    if half
                    else helper.make_node("DequantizeLinear", *read)
                )
                node.input[place] = wide
        nodes.append(node)
        y = node.output[0]
        if node.op_type == "Add" and y not in ports:
            kept.add(y)
            written = [y, "scale"], [f"{y}_narrow"]
            nodes.append(
                cast(y, f"{y}_narrow", kind)
                if half
                else helper.make_node("QuantizeLinear", *written, output_dtype=kind)
            )
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.3, np.float32), "scale"))
    model.opset_import[0].version, model.ir_version = 21, 10
    return model


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", NARROW, ids=NAMES)
def test_every_strategy_cuts_beside_what_cannot_travel(
    kind: int, strategy: str, tmp_path: Path
) -> None:
    shape = TRANSFORMERS["vit"]
    path = tmp_path / "m.onnx"
    onnx.save(narrowed(transformer(shape, seed=2), kind), path)
    plan = STRATEGIES[strategy](path)
    assert len(plan) > 2
    crossing = [spec.name for step in plan for spec in (*step.inputs, *step.outputs)]
    assert not [name for name in crossing if name.endswith("_narrow")]
    assert_steps_equal_whole(path, plan, inputs(shape, seed=3), tmp_path / "files")


@pytest.mark.parametrize("kind", NARROW, ids=NAMES)
def test_where_it_lies_across_every_boundary_the_refusal_names_it(
    kind: int, tmp_path: Path
) -> None:
    weights = np.random.default_rng(1).standard_normal((4, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Add", ["x", "x"], ["sum"]),
        helper.make_node("MatMul", ["sum", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        helper.make_node("Mul", ["b", "sum"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "across",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    plain, across = tmp_path / "plain.onnx", tmp_path / "across.onnx"
    onnx.save(model, plain)
    assert len(plan_layers(plain, 2)) == 2
    with pytest.raises(TooManyShards, match=r"at most 2$"):
        plan_layers(plain, 3)
    onnx.save(narrowed(model, kind), across)
    assert len(plan_layers(across, 1)) == 1
    with pytest.raises(TooManyShards, match="at most 1: 'sum_narrow' would be passed on") as caught:
        plan_layers(across, 2)
    assert caught.value.maximum == 1
