"""External data: taken from beside the model, wherever the model refers to it; refused from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h

from inference.graph.files import InvalidModel
from inference.graph.model import load
from inference.graph.runtime import session
from inference.graph.summary import read_model

vi, nd = h.make_tensor_value_info, h.make_node
SECRET = np.array([41.5, 42.5], np.float32)


def outside(
    name: str, location: str, dims: tuple[int, ...] = (2,), **more: Any
) -> onnx.TensorProto:
    tensor = T(name=name, data_type=T.FLOAT, dims=dims, data_location=T.EXTERNAL)
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def model(where: str, location: str) -> onnx.ModelProto:
    """y = x + two numbers that lie in a file; `where` the model refers to it."""
    functions, sparse, weights = [], [], []
    constant = nd("Constant", [], ["w"], value=outside("w", location))
    nodes = [constant]
    if where == "initialiser":
        nodes, weights = [], [outside("w", location)]
    elif where == "branch":
        graph = h.make_graph([], "b", [], [vi("w", T.FLOAT, [2])], [outside("w", location)])
        yes = nd("Constant", [], ["c"], value=h.make_tensor("c", T.BOOL, [], [True]))
        nodes = [yes, nd("If", ["c"], ["w"], then_branch=graph, else_branch=graph)]
    elif where == "function":
        opset = [h.make_opsetid("", 17)]
        functions = [h.make_function("own", "Held", [], ["w"], [constant], opset)]
        nodes = [nd("Held", [], ["w"], domain="own")]
    elif where == "sparse":
        values = outside("w", location)
        indices = h.make_tensor("i", T.INT64, [2], [0, 1])
        nodes, sparse = [], [h.make_sparse_tensor(values, indices, [2])]
    graph = h.make_graph(
        [*nodes, nd("Add", ["x", "w"], ["y"])],
        "g",
        [vi("x", T.FLOAT, [2])],
        [vi("y", T.FLOAT, [2])],
        weights,
        sparse_initializer=sparse,
    )
    opsets = [h.make_opsetid("", 17), h.make_opsetid("own", 1)]
    return h.make_model(graph, functions=functions, opset_imports=opsets, ir_version=8)


WHERE = ("initialiser", "constant", "branch", "function", "sparse")


@pytest.mark.parametrize("where", WHERE)
def test_data_beside_the_model_is_taken_wherever_the_model_refers_to_it(
    tmp_path: Path, where: str
) -> None:
    SECRET.tofile(tmp_path / "data.bin")
    onnx.save(model(where, "data.bin"), tmp_path / "m.onnx")
    raw = load(tmp_path / "m.onnx").SerializeToString()
    assert b"data.bin" not in raw
    (got,) = session(raw).run(None, {"x": np.zeros(2, np.float32)})
    assert got.tolist() == SECRET.tolist()


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("how", ["absolute", "above", "link", "memory", "working directory"])
def test_data_from_elsewhere_is_refused_and_never_quoted(
    tmp_path: Path, where: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, secret = tmp_path / "given", tmp_path / "secret.bin"
    folder.mkdir()
    SECRET.tofile(secret)
    monkeypatch.chdir(tmp_path)
    (folder / "link.bin").symlink_to(secret)
    location = {
        "absolute": str(secret),
        "above": "../secret.bin",
        "link": "link.bin",
        "memory": "*/_ORT_MEM_ADDR_/*",
        "working directory": "secret.bin",
    }[how]
    onnx.save(model(where, location), folder / "m.onnx")
    with pytest.raises(InvalidModel) as refused:
        read_model(folder / "m.onnx")
    assert "41.5" not in str(refused.value)


def test_a_store_of_files_that_the_models_folder_links_to_is_taken(tmp_path: Path) -> None:
    """As Hugging Face's cache keeps them: the model itself is a link, and its data lie beside it there."""
    store, folder = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    store.mkdir()
    folder.mkdir(parents=True)
    onnx.save(model("initialiser", "m.onnx_data"), store / "aa")
    SECRET.tofile(store / "bb")
    (folder / "m.onnx").symlink_to(store / "aa")
    (folder / "m.onnx_data").symlink_to(store / "bb")
    (weights,) = load(folder / "m.onnx").graph.initializer
    assert weights.raw_data == SECRET.tobytes()


def test_many_tensors_on_one_file_are_counted_each(tmp_path: Path) -> None:
    with (tmp_path / "data.bin").open("wb") as file:
        file.truncate(2**28)  # nothing of it is on the disk
    made = model("initialiser", "data.bin")
    made.graph.initializer.extend(outside(f"w{n}", "data.bin", (2**26,)) for n in range(40))
    onnx.save(made, tmp_path / "m.onnx")
    with pytest.raises(InvalidModel, match="2 GB"):
        load(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"length": 4}, "said to be 4 bytes"),
        ({"offset": 4}, "needs 8 bytes at 4"),
        ({"offset": -8}, "said to be 8 bytes at -8"),
        ({"offset": "many"}, "whole numbers"),
    ],
)
def test_data_of_another_size_is_refused(
    tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    SECRET.tofile(tmp_path / "data.bin")
    made = model("initialiser", "data.bin")
    made.graph.initializer[0].CopyFrom(outside("w", "data.bin", **more))
    onnx.save(made, tmp_path / "m.onnx")
    with pytest.raises(InvalidModel, match=message):
        load(tmp_path / "m.onnx")
