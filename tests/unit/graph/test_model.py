"""Reading model files: what is seen in good ones, what is said of bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference.graph.batching.batch_axis import Verdict
from inference.graph.files import InvalidModel
from inference.graph.model import load, pack
from inference.graph.reference import example_inputs, reference
from inference.graph.summary import read_model
from inference.zoo import bert, micro, small


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    config = bert.BertConfig()
    return bert.build(tmp_path / "encoder.onnx", config, bert.random_weights(config, 0))


def test_a_summary_says_what_the_graph_is(encoder: Path) -> None:
    summary = read_model(encoder)
    assert [spec.name for spec in summary.inputs] == [
        "input_ids",
        "attention_mask",
        "token_type_ids",
    ]
    assert summary.inputs[0].shape == ("batch", "sequence")
    assert summary.inputs[1].default == "ones_like:input_ids"
    assert summary.outputs[1].shape == ("batch", 32)
    assert summary.opsets == {"ai.onnx": 17}
    assert summary.operators["Softmax"] == 2
    assert summary.layers == 2
    assert 0 < summary.weight_bytes < summary.file_bytes == encoder.stat().st_size
    assert len(summary.cuts) == summary.max_shards - 1 > 0
    assert summary.batch_axis.verdict == Verdict.PROVED
    assert summary.batch_axis.inputs == ("input_ids", "attention_mask", "token_type_ids")
    json.dumps(summary.to_json())


def test_packing_keeps_the_content_under_its_hash(encoder: Path, tmp_path: Path) -> None:
    sha256, path = pack(encoder, tmp_path / "files")
    assert path.name == sha256 == read_model(encoder).sha256 == read_model(path).sha256
    assert pack(encoder, tmp_path / "files") == (sha256, path)
    assert [item.name for item in (tmp_path / "files").iterdir()] == [sha256]


def test_external_data_becomes_part_of_the_file(encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "external"
    folder.mkdir()
    model = onnx.load(encoder)
    onnx.save(
        model, folder / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0
    )
    assert (folder / "m.data").exists()
    summary = read_model(folder / "m.onnx")
    _, path = pack(folder / "m.onnx", tmp_path / "files")
    inputs = example_inputs(load(path), summary.inputs, seed=1)
    for name, expected in reference(encoder, inputs).items():
        np.testing.assert_array_equal(reference(path, inputs)[name], expected)

    (folder / "m.data").unlink()
    with pytest.raises(InvalidModel, match=r"m\.data"):
        read_model(folder / "m.onnx")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"nothing\.onnx is missing"):
        read_model(tmp_path / "nothing.onnx")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"{}", bytes(range(256)) * 8])
def test_what_is_no_onnx_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidModel, match=r"expected .*\.onnx file"):
        read_model(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share: float, encoder: Path, tmp_path: Path) -> None:
    raw = encoder.read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(InvalidModel):
        read_model(path)


def graph_of(
    nodes: list[onnx.NodeProto],
    *,
    shape: list[int | str | None],
    ir_version: int = 8,
    **weights: object,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("org.example", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def test_an_operator_nobody_knows_is_named(tmp_path: Path) -> None:
    node = helper.make_node("Frobnicate", ["x"], ["y"], domain="org.example")
    path = tmp_path / "odd.onnx"
    path.write_bytes(graph_of([node], shape=[2]).SerializeToString())
    with pytest.raises(InvalidModel, match="Frobnicate"):
        read_model(path)


def test_a_tensor_that_nobody_makes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dangling.onnx"
    node = helper.make_node("Add", ["x", "ghost"], ["y"])
    path.write_bytes(graph_of([node], shape=[2]).SerializeToString())
    with pytest.raises(InvalidModel, match="ghost"):
        read_model(path)


def test_a_port_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    model = graph_of([helper.make_node("SequenceConstruct", ["x"], ["y"])], shape=[2])
    model.graph.output[0].CopyFrom(
        helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, [2])
    )
    path = tmp_path / "sequence.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidModel, match="'y' is sequence"):
        read_model(path)


def test_unnamed_dynamic_dimensions_get_names(tmp_path: Path) -> None:
    path = tmp_path / "unnamed.onnx"
    path.write_bytes(
        graph_of([helper.make_node("Neg", ["x"], ["y"])], shape=[None, 3]).SerializeToString()
    )
    summary = read_model(path)
    assert summary.inputs[0].shape == summary.outputs[0].shape == ("x_dim0", 3)
    _, packed = pack(path, tmp_path / "files")
    assert onnx.load(packed).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "x_dim0"
    assert summary.batch_axis.verdict == Verdict.PROVED


@pytest.mark.parametrize("ir_version", [3, 8])
def test_weights_listed_as_inputs_are_optional_since_ir_4(ir_version: int, tmp_path: Path) -> None:
    model = graph_of(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        shape=["n"],
        ir_version=ir_version,
        w=np.ones(1, np.float32),
    )
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]))
    path = tmp_path / "listed.onnx"
    path.write_bytes(model.SerializeToString())
    optional = [spec.name for spec in read_model(path).inputs if spec.optional]
    assert optional == (["w"] if ir_version == 8 else [])


def test_a_batch_whose_rows_influence_one_another_is_not_split(tmp_path: Path) -> None:
    path = tmp_path / "mixing.onnx"
    node = helper.make_node("Softmax", ["x"], ["y"], axis=0)
    path.write_bytes(graph_of([node], shape=["batch", 3]).SerializeToString())
    answer = read_model(path).batch_axis
    assert answer.verdict == Verdict.NO
    assert "rows" in answer.reason


def test_ports_of_small_models(tmp_path: Path) -> None:
    odd = read_model(small.odd_tensors(tmp_path / "odd.onnx"))
    assert [(spec.dtype, spec.shape) for spec in odd.inputs] == [
        ("string", ("count",)),
        ("float32", ()),
        ("float32", ("length",)),
    ]
    many = read_model(small.many_ports(tmp_path / "many.onnx"))
    assert [spec.dtype for spec in many.outputs] == ["float32", "int64", "bool", "int64"]
    chain = read_model(micro.chain(tmp_path / "chain.onnx", layers=8))
    assert chain.max_shards == chain.layers == 8
