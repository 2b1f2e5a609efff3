"""Whether an answer of onnxruntime is a measure for others, on real graphs and real onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference.graph.files import InvalidModel
from inference.graph.model import load, ports
from inference.graph.runtime import session
from inference.sandbox.jobs.answering import answers
from inference.sandbox.jobs.comparing import reference_of
from inference.sandbox.jobs.steadiness import Steadiness, shaken

WIDTH = 64
PORTS = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", WIDTH]) for name in "xy"]


def saved(path: Path, nodes: list[onnx.NodeProto], **weights: np.ndarray) -> Path:
    held = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", PORTS[:1], PORTS[1:], held)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def matrix(offset: float) -> np.ndarray:
    return (offset + np.random.default_rng(1).standard_normal((WIDTH, WIDTH))).astype(np.float32)


def nearly_equal(path: Path) -> Path:
    """Multiplies the variance of equal numbers, as the mean of squares less the square of the mean.

    onnxruntime adds them up in another order where there is one row.
    """
    random = np.random.default_rng(3)
    nodes = [
        helper.make_node("Mul", ["x", "nothing"], ["z"]),
        helper.make_node("Add", ["z", "some"], ["equal"]),
        helper.make_node("Unsqueeze", ["equal", "two"], ["column"]),
        helper.make_node("Mul", ["column", "w"], ["t"]),
        helper.make_node("Mul", ["t", "t"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "one"], ["of_squares"], keepdims=0),
        helper.make_node("ReduceSum", ["t", "one"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "sum"], ["of_sums"]),
        helper.make_node("Mul", ["of_sums", "share"], ["expected"]),
        helper.make_node("Sub", ["of_squares", "expected"], ["variance"]),
        helper.make_node("Mul", ["variance", "much"], ["y"]),
    ]
    floats = {"nothing": 0.0, "some": 0.7, "share": 1 / WIDTH, "much": 1e3}
    return saved(
        path,
        nodes,
        w=random.standard_normal(WIDTH).astype(np.float32),
        one=np.array([1]),
        two=np.array([2]),
        **{name: np.array(value, np.float32) for name, value in floats.items()},
    )


def ordinary(path: Path) -> Path:
    return saved(path, [helper.make_node("MatMul", ["x", "w"], ["y"])], w=matrix(0.0))


def over_rows(path: Path) -> Path:
    """Takes the mean of all rows from each: they belong together."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["m"], axes=[0]),
        helper.make_node("Sub", ["a", "m"], ["y"]),
    ]
    return saved(path, nodes, w=matrix(0.0))


def scaled(path: Path) -> Path:
    """Rows that belong together, resized by scales of which two must be 1 to the last bit."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0]),
        helper.make_node("Sub", ["x", "m"], ["a"]),
        helper.make_node("Reshape", ["a", "square"], ["b"]),
        helper.make_node("Resize", ["b", "", "scales"], ["c"], mode="cubic"),
        helper.make_node("Reshape", ["c", "flat"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
    ]
    return saved(
        path,
        nodes,
        square=np.array([0, 1, 8, 8]),
        flat=np.array([0, 4 * WIDTH]),
        scales=np.array([1, 1, 2, 2], np.float32),
        w=np.ones((4 * WIDTH, WIDTH), np.float32),
    )


def step_of(path: Path) -> dict[str, Any]:
    """The file as the only step of a plan."""
    port = {"dtype": "float32", "shape": ["n", WIDTH]}
    return {
        "sha256": "ab", "path": str(path), "inputs": [{"name": "x", "tensor": "x", **port}],
        "outputs": [{"name": "y", "tensor": "y", **port}], "tensor_of": {"y": "y"}, "join": [],
        "stage": None,
    }  # fmt: skip


def doubt(path: Path) -> str:
    taken, _ = ports(load(path))
    runtime = session(str(path))
    given = {"x": np.random.default_rng(2).standard_normal((4, WIDTH)).astype(np.float32)}
    return Steadiness(path, runtime).doubt(taken, given, {"y": runtime.run(["y"], given)[0]})


def test_what_rounding_decides_is_no_measure(tmp_path: Path) -> None:
    assert "is not steady" in doubt(nearly_equal(tmp_path / "m.onnx"))


@pytest.mark.parametrize("make", [ordinary, over_rows])
def test_other_answers_are(tmp_path: Path, make: object) -> None:
    assert callable(make)
    assert doubt(make(tmp_path / "m.onnx")) == ""


def test_a_file_that_takes_no_other_weights_is_not_in_doubt_and_has_its_known_answer(
    tmp_path: Path,
) -> None:
    path = scaled(tmp_path / "m.onnx")
    with pytest.raises(InvalidModel, match="upsample"):
        session(shaken(load(path)).SerializeToString())
    assert doubt(path) == ""
    step = step_of(path)
    answers([step], str(tmp_path))
    with np.load(tmp_path / "ab.npz", allow_pickle=False) as kept:
        assert kept.files != ["meta"]
    compared = reference_of([step], step["inputs"], step["outputs"], 3, {})
    assert compared.document["doubt"] == ""


def test_only_the_last_bits_of_floats_are_turned_round(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "m.onnx",
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        w=np.array([0.0, 1.0, np.inf], np.float32),
        i=np.array([3], np.int64),
    )
    found = {
        item.name: numpy_helper.to_array(item) for item in shaken(load(path)).graph.initializer
    }
    assert found["w"].tolist() == [0.0, float(np.nextafter(np.float32(1), np.float32(2))), np.inf]
    assert found["i"].tolist() == [3]


def test_a_file_that_is_steady_nowhere_has_no_known_answer_and_says_why(tmp_path: Path) -> None:
    path = nearly_equal(tmp_path / "m.onnx")
    answers([step_of(path)], str(tmp_path))
    with np.load(tmp_path / "ab.npz", allow_pickle=False) as kept:
        assert kept.files == ["meta"]
        assert b"is not steady" in kept["meta"].tobytes()
