"""Transformers cut into attention and feed-forward parts: in turns, at the residual stream, right."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest

from inference.graph.cutting.attention import find_attentions
from inference.graph.cutting.blocks import NoBlocks, plan_attention_feedforward, plan_blocks
from inference.graph.cutting.products import weight_products
from inference.graph.indexed import GraphIndex
from inference.graph.model import load
from inference.graph.steps import Role, StepKind
from inference.zoo import bert, small
from tests.support.random_graphs import scrambled
from tests.support.shards import assert_steps_equal_whole
from tests.support.transformers import KINDS, Shape, inputs, transformer

LAYERS = 3


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def of_three_layers(kind: str) -> Shape:
    return dataclasses.replace(KINDS[kind], layers=LAYERS)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_alternate_and_equal_the_whole(kind: str, tmp_path: Path) -> None:
    shape = of_three_layers(kind)
    path = saved(transformer(shape, seed=4), tmp_path)
    plan = plan_attention_feedforward(path)
    assert [step.role for step in plan] == [Role.ATTENTION, Role.FEED_FORWARD] * LAYERS
    assert all(step.kind is StepKind.COMPUTE and step.part is None for step in plan)
    assert_steps_equal_whole(path, plan, inputs(shape, seed=5), tmp_path / "files")


@pytest.mark.parametrize("kind", KINDS)
def test_a_feed_forward_part_takes_the_residual_stream_alone(kind: str) -> None:
    shape = of_three_layers(kind)
    plan = plan_blocks(transformer(shape))
    hidden = 128 * shape.hidden * 4
    for step in plan:
        if step.role is Role.FEED_FORWARD:
            assert [spec.shape[-1] for spec in step.inputs] == [shape.hidden]
            assert step.crossing_bytes == hidden
    assert plan[0].depends_on == ()


@pytest.mark.parametrize("kind", KINDS)
def test_each_node_is_in_one_part_and_weights_are_where_they_belong(kind: str) -> None:
    graph = GraphIndex(transformer(of_three_layers(kind)))
    plan = plan_blocks(transformer(of_three_layers(kind)))
    nodes = [i for step in plan for i in step.nodes if i not in graph.fixed]
    assert sorted(nodes) == sorted(graph.live - graph.fixed)
    attentions = find_attentions(graph)
    cores = [found.core for found in attentions]
    assert len(cores) == LAYERS * (2 if KINDS[kind].cross else 1)
    products = weight_products(graph)
    per_part = {
        role: [len(products & set(step.nodes)) for step in plan if step.role is role]
        for role in (Role.ATTENTION, Role.FEED_FORWARD)
    }
    projections = sum(len(found.projections) for found in attentions) // LAYERS
    assert per_part[Role.ATTENTION] == [projections] * LAYERS
    feed_forward = 3 if KINDS[kind].gated else 2
    assert per_part[Role.FEED_FORWARD] == [feed_forward] * (LAYERS - 1) + [feed_forward + 1]
    for step in plan:
        whole_cores = [core for core in cores if set(core) <= set(step.nodes)]
        assert bool(whole_cores) == (step.role is Role.ATTENTION)


@pytest.mark.parametrize("kind", KINDS)
def test_names_mean_nothing(kind: str) -> None:
    plain = transformer(of_three_layers(kind))
    noisy = scrambled(plain, seed=8)
    nodes = [[step.nodes for step in plan_blocks(model)] for model in (plain, noisy)]
    assert nodes[0] == nodes[1]


@pytest.mark.parametrize("kind", ["bert", "llama", "t5"])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_nodes_in_the_file_does_not_matter(
    kind: str, seed: int, tmp_path: Path
) -> None:
    shape = of_three_layers(kind)
    model = transformer(shape)
    nodes = list(model.graph.node)
    order = np.random.default_rng(seed).permutation(len(nodes))
    copies = [onnx.NodeProto.FromString(nodes[int(i)].SerializeToString()) for i in order]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    path = saved(model, tmp_path)
    plan = plan_attention_feedforward(path)
    assert [step.role for step in plan] == [Role.ATTENTION, Role.FEED_FORWARD] * LAYERS
    assert_steps_equal_whole(path, plan, inputs(shape), tmp_path / "files")


def test_the_encoder_of_the_zoo(tmp_path: Path) -> None:
    config = bert.BertConfig(layers=4)
    path = bert.build(tmp_path / "model.onnx", config, bert.random_weights(config, 3))
    assert len(plan_attention_feedforward(path)) == 8


def test_same_file_same_plan(tmp_path: Path) -> None:
    path = saved(transformer(KINDS["llama"]), tmp_path)
    assert plan_attention_feedforward(path) == plan_attention_feedforward(path)


@pytest.mark.parametrize("build", [small.convolutions, small.mlp, small.recurrent])
def test_a_graph_without_attention_is_refused_with_what_was_found(
    build: object, tmp_path: Path
) -> None:
    assert callable(build)
    path = build(tmp_path / "model.onnx")
    with pytest.raises(NoBlocks, match=r"looked for attention.*found 0 products of two activ"):
        plan_attention_feedforward(path)


def test_a_classifier_with_a_softmax_over_weights_is_no_attention(tmp_path: Path) -> None:
    """Softmax between products with weights, and a product of activations elsewhere."""
    from onnx import TensorProto, helper, numpy_helper

    matrix = np.eye(4, dtype=np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Softmax", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["c"]),
        helper.make_node("Transpose", ["c"], ["d"]),
        helper.make_node("MatMul", ["c", "d"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "n"])],
        [numpy_helper.from_array(matrix, "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with pytest.raises(NoBlocks, match="found 1 products of two activations, 1 Softmax"):
        plan_attention_feedforward(saved(model, tmp_path))


def test_attention_with_nothing_behind_it_is_refused(tmp_path: Path) -> None:
    model = transformer(Shape(layers=1))
    attended = find_attentions(GraphIndex(model))[0]
    end = max(attended.projections)
    del model.graph.node[end + 1 :]
    del model.graph.output[:]
    name = model.graph.node[end].output[0]
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", "length", 64])
    )
    with pytest.raises(NoBlocks, match="found 1 attentions and none of those"):
        plan_attention_feedforward(saved(model, tmp_path))


def test_load_is_what_plans_are_made_for(tmp_path: Path) -> None:
    path = saved(transformer(KINDS["gpt2"]), tmp_path)
    assert plan_blocks(load(path)) == plan_attention_feedforward(path)
