"""What a plan looks like on graphs whose right cuts are known, and what the shard files are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference.graph.cutting.cut import Cutter, plan_layers
from inference.graph.model import load
from inference.graph.reference import example_inputs, largest_difference, reference
from inference.graph.summary import read_model
from inference.zoo import bert, micro, minilm, small
from tests.support.shards import assert_shards_equal_whole, run_shards, write_shards

EMBEDDING_BYTES = 30_522 * 384 * 4


@pytest.fixture(scope="module")
def sentence_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("minilm") / "minilm.onnx"
    minilm.build(path)
    return path


@pytest.mark.parametrize("shards", [2, 3, 6])
def test_minilm_passes_the_hidden_state_and_the_mask(
    shards: int, sentence_encoder: Path, tmp_path: Path
) -> None:
    model = load(sentence_encoder)
    plan = plan_layers(sentence_encoder, shards)
    files = write_shards(sentence_encoder, plan, tmp_path)
    holders = [s.index for s in plan if "embeddings.word_embeddings.weight" in s.initialisers]
    assert holders == [0]
    assert all(file.bytes < EMBEDDING_BYTES for file in files[1:])
    hidden = 128 * 384 * 4
    for shard in plan[1:]:
        shapes = [spec.shape for spec in shard.inputs if spec.name in shard.crossing]
        assert shapes.count(("batch", "sequence", 384)) == 1
        assert hidden <= shard.crossing_bytes <= hidden * 1.01
        assert all(not isinstance(d, str) or d in ("batch", "sequence") for s in shapes for d in s)
    assert sum(f.bytes for f in files) <= sentence_encoder.stat().st_size * 1.01
    assert max(shard.cost for shard in plan) <= 1.5 / shards

    inputs = example_inputs(model, read_model(sentence_encoder).inputs, seed=3)
    got, whole = run_shards(files, inputs), reference(sentence_encoder, inputs)
    assert all(largest_difference(got[name], whole[name]) == 0 for name in whole)


def test_minilm_is_the_published_model(sentence_encoder: Path) -> None:
    """Sentences of one meaning are near, others are not; rows are unit vectors."""
    from inference.catalog.tokenizer import Tokenizer

    tokenizer = Tokenizer(
        sentence_encoder.with_name("minilm.tokenizer.json"),
        ["input_ids", "attention_mask", "token_type_ids"],
    )
    texts = ["That is a happy person", "That is a very happy person", "Today is a sunny day"]
    rows = reference(sentence_encoder, tokenizer.encode(texts))["sentence_embedding"]
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    # The model card's example: 0.9429 and 0.2569.
    assert rows[0] @ rows[1] == pytest.approx(0.943, abs=0.002)
    assert rows[0] @ rows[2] == pytest.approx(0.257, abs=0.002)
    alone = reference(sentence_encoder, tokenizer.encode(texts[:1]))["sentence_embedding"]
    np.testing.assert_allclose(alone[0], rows[0], atol=1e-5)


def encoder(path: Path) -> Path:
    config = bert.BertConfig(layers=3)
    return bert.build(path, config, bert.random_weights(config, 5))


SMALL: list[Callable[[Path], Path]] = [
    small.mlp, small.convolutions, small.recurrent, small.many_ports, small.control_flow,
    small.odd_tensors, micro.chain, micro.slow, encoder,
]  # fmt: skip


@pytest.mark.parametrize("build", SMALL, ids=lambda build: str(build.__name__))
def test_every_kind_of_graph_in_shards_equals_the_whole(
    build: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = build(tmp_path / "model.onnx")
    inputs = example_inputs(load(path), read_model(path).inputs, seed=2)
    assert assert_shards_equal_whole(path, inputs, tmp_path / "files") >= 2


def test_an_altered_weight_in_one_shard_alters_the_answer(tmp_path: Path) -> None:
    path = encoder(tmp_path / "model.onnx")
    inputs = example_inputs(load(path), read_model(path).inputs, seed=2)
    files = write_shards(path, plan_layers(path, 3), tmp_path / "files")
    right = run_shards(files, inputs)["sentence_embedding"]
    for file in files:
        shard = onnx.load(file.path)
        weight = max(shard.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        row = min(int(inputs["input_ids"][0, 0]), weight.dims[0] - 1)
        array = numpy_helper.to_array(weight).copy()
        array[row, 0] += 1  # one number of one weight
        weight.CopyFrom(numpy_helper.from_array(array, weight.name))
        original = file.path.read_bytes()
        file.path.write_bytes(shard.SerializeToString())
        assert largest_difference(run_shards(files, inputs)["sentence_embedding"], right) > 1e-3
        file.path.write_bytes(original)
    assert largest_difference(run_shards(files, inputs)["sentence_embedding"], right) == 0


def test_a_convolutional_net_is_cut_behind_its_pooling_and_in_balance(tmp_path: Path) -> None:
    path = small.convolutions(tmp_path / "model.onnx")
    cutter = Cutter(load(path))
    first, second = cutter.plan(2)
    assert cutter.graph.nodes[first.nodes[-1]].op_type == "MaxPool"
    assert len(second.crossing) == 1
    assert 0.2 < first.cost < 0.8  # the second half works on a quarter of the pixels


def model_of(
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    *,
    outputs: dict[str, list[int | str]],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def square(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((4, 4)).astype(np.float32)


X = {"x": np.random.default_rng(9).standard_normal((3, 4)).astype(np.float32)}


def test_a_weight_used_twice_is_copied_and_listed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Transpose", ["w"], ["wt"]),
        helper.make_node("MatMul", ["a", "wt"], ["y"]),
    ]
    path = saved(model_of(nodes, {"w": square(0)}, outputs={"y": ["n", 4]}), tmp_path)
    first, second = plan_layers(path, 2)
    assert (first.copied_bytes, second.copied_bytes) == (0, 64)
    assert first.crossing == () and second.crossing == ("a",)  # never the transposed weight
    assert_shards_equal_whole(path, X, tmp_path / "files")


def test_a_model_that_declares_a_wrong_output_shape_is_cut_all_the_same(tmp_path: Path) -> None:
    """Exporters do; onnxruntime only warns. An output that a later shard uses must not carry it."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "v"], ["y"]),
    ]
    model = model_of(
        nodes, {"w": square(0), "v": square(1)}, outputs={"a": ["other", 4], "y": ["m", 4]}
    )
    path = saved(model, tmp_path)
    plan = plan_layers(path, 2)
    assert plan[1].inputs[0].shape == ("n", 4)
    assert_shards_equal_whole(path, X, tmp_path / "files")


def test_outputs_that_are_inputs_weights_or_constants(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Constant", [], ["c"], value_floats=[1.0, 2.0]),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    outputs: dict[str, list[int | str]] = {"y": ["n", 4], "c": [2], "w": [4, 4], "x": ["n", 4]}
    path = saved(model_of(nodes, {"w": square(0)}, outputs=outputs), tmp_path)
    assert_shards_equal_whole(path, X, tmp_path / "files")


def test_independent_parts_do_not_wait_for_each_other(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("MatMul", ["x", "v"], ["z"]),
    ]
    model = model_of(
        nodes, {"w": square(0), "v": square(1)}, outputs={"y": ["n", 4], "z": ["n", 4]}
    )
    plan = plan_layers(saved(model, tmp_path), 2)
    assert [shard.depends_on for shard in plan] == [(), ()]


def test_old_files_that_list_weights_as_inputs(tmp_path: Path) -> None:
    """IR version 3: every weight is also in the graph's inputs, and none may be overridden."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "v"], ["y"]),
    ]
    model = model_of(nodes, {"w": square(0), "v": square(1)}, outputs={"y": ["n", 4]})
    model.ir_version = 3
    model.opset_import[0].version = 8
    for name in ("w", "v"):
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 4]))
    path = saved(model, tmp_path)
    assert [spec.name for spec in plan_layers(path, 2)[0].inputs] == ["x"]
    assert_shards_equal_whole(path, X, tmp_path / "files")


def test_a_weight_that_may_be_overridden_is_an_optional_input_of_each_shard(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    model = model_of(nodes, {"w": square(0)}, outputs={"y": ["n", 4]})
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 4]))
    path = saved(model, tmp_path)
    for shard in plan_layers(path, 2):
        assert [spec.name for spec in shard.inputs if spec.optional] == ["w"]
    assert_shards_equal_whole(path, X, tmp_path / "with_default")
    assert_shards_equal_whole(path, {**X, "w": square(7)}, tmp_path / "overridden")


def test_metadata_and_opsets_are_kept(tmp_path: Path) -> None:
    path = encoder(tmp_path / "model.onnx")
    whole = onnx.load(path)
    for file in write_shards(path, plan_layers(path, 2), tmp_path / "files"):
        shard = onnx.load(file.path)
        assert list(shard.opset_import) == list(whole.opset_import)
        assert list(shard.metadata_props) == list(whole.metadata_props)
