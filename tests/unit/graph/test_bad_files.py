"""Files that are damaged, hostile or too large: InvalidModel, and never another error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from inference.graph.files import InvalidModel
from inference.graph.summary import read_model
from inference.zoo import bert, small


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = bert.BertConfig(layers=1, hidden=8, heads=2, intermediate=8, vocabulary=10)
    folder: Path = tmp_path_factory.mktemp("encoder")
    return bert.build(folder / "encoder.onnx", config, bert.random_weights(config, 0))


def test_every_truncation_is_refused(encoder: Path, tmp_path: Path) -> None:
    """At a hundred lengths, and one byte short: never taken for a smaller model."""
    raw = encoder.read_bytes()
    path = tmp_path / "cut.onnx"
    for length in sorted({*np.linspace(0, len(raw) - 1, 100, dtype=int).tolist(), 1, len(raw) - 1}):
        # The last fields are the opset and the metadata: a file that ends behind a whole field is
        # ONNX, and onnxruntime is asked.
        path.write_bytes(raw[:length])
        try:
            summary = read_model(path)
        except InvalidModel as error:
            assert str(error)
        else:
            assert summary.node_count == read_model(encoder).node_count


def test_flipped_bytes_never_raise_anything_else(encoder: Path, tmp_path: Path) -> None:
    raw = bytearray(encoder.read_bytes())
    random = np.random.default_rng(0)
    path = tmp_path / "flipped.onnx"
    refused = 0
    for _ in range(60):
        damaged = bytearray(raw)
        # The graph's structure stands at the front, the weights behind it.
        for at in random.integers(0, 4000, 3):
            damaged[at] ^= 1 << int(random.integers(8))
        path.write_bytes(bytes(damaged))
        try:
            read_model(path)
        except InvalidModel as error:
            refused += 1
            assert str(error)
    assert refused > 30


def test_external_data_outside_the_folder_is_refused(tmp_path: Path) -> None:
    """A model must not read other files of the machine into its weights."""
    (tmp_path / "secret").write_bytes(bytes(64))
    folder = tmp_path / "models"
    folder.mkdir()
    for location in ("../secret", str(tmp_path / "secret")):
        path = folder / "evil.onnx"
        path.write_bytes(with_external(location, [4, 4]).SerializeToString())
        with pytest.raises(InvalidModel):
            read_model(path)
    (folder / "link").symlink_to(tmp_path / "secret")
    path.write_bytes(with_external("link", [4, 4]).SerializeToString())
    with pytest.raises(InvalidModel):
        read_model(path)


@pytest.mark.parametrize("size", [0, 10, 63])
def test_external_data_that_is_too_short_is_refused(size: int, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(size))
    path = tmp_path / "model.onnx"
    path.write_bytes(with_external("w.bin", [4, 4]).SerializeToString())
    with pytest.raises(InvalidModel):
        read_model(path)


def with_external(location: str, dims: list[int]) -> onnx.ModelProto:
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims)
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "external",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", dims[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", dims[1]])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_more_than_two_gigabytes_are_refused_before_they_are_read(tmp_path: Path) -> None:
    """The files are sparse; a process that may have 2 GB of memory must not need them."""
    external = tmp_path / "external.onnx"
    external.write_bytes(with_external("huge.bin", [2**15, 2**15]).SerializeToString())
    os.truncate(os.open(tmp_path / "huge.bin", os.O_CREAT | os.O_WRONLY), 2**32)
    single = tmp_path / "single.onnx"
    os.truncate(os.open(single, os.O_CREAT | os.O_WRONLY), 2**32)
    code = (
        "import resource, sys; from pathlib import Path\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\n"
        "from inference.graph.files import InvalidModel; from inference.graph.summary import read_model\n"
        "for path in sys.argv[1:]:\n"
        "    try: read_model(Path(path))\n"
        "    except InvalidModel as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(external), str(single)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.count("4.0 GB, more than the 2 GB") == 2, done.stdout + done.stderr


def test_ports_of_types_without_a_wire_form_are_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E4M3FN)],
        "eight",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT8E4M3FN, ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    path = tmp_path / "eight.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidModel, match="float8e4m3fn"):
        read_model(path)


@pytest.mark.parametrize("place", ["initializer", "constant", "branch"])
def test_a_string_with_nul_is_refused(place: str, tmp_path: Path) -> None:
    """Browsers cut strings there: an answer with such a string would be another one."""
    text = onnx.TensorProto(name="t", data_type=TensorProto.STRING, dims=[1], string_data=[b"a\0b"])
    port = helper.make_tensor_value_info("y", TensorProto.STRING, [1])
    constant = helper.make_node("Constant", [], ["y"], value=text)
    nodes, weights, inputs = [constant], [], []
    if place == "initializer":
        nodes, weights = [helper.make_node("Identity", ["t"], ["y"])], [text]
    if place == "branch":
        branch = helper.make_graph([constant], "b", [], [port])
        nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
        inputs = [helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    graph = helper.make_graph(nodes, "g", inputs, [port], weights)
    path = tmp_path / "nul.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    with pytest.raises(InvalidModel, match="NUL"):
        read_model(path)


def test_a_folder_and_a_text_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel):
        read_model(tmp_path)
    text = tmp_path / "readme.onnx"
    text.write_text("This is no model.\n" * 50)
    with pytest.raises(InvalidModel, match=r"\.onnx file"):
        read_model(text)


def test_a_cycle_is_refused(tmp_path: Path) -> None:
    path = small.mlp(tmp_path / "cycle.onnx")
    model = onnx.load(path)
    model.graph.node[0].input[0] = "y"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidModel):
        read_model(path)
