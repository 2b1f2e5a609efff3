"""Divisions of inputs by -1: those that have no quotient are found, whatever stands beside them."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference.graph.divisions import input_divisions, without_quotient
from inference.graph.indexed import GraphIndex

LEAST = {"int32": -(2**31), "int64": -(2**63), "int8": -128}
CODES = {"int32": TensorProto.INT32, "int64": TensorProto.INT64, "int8": TensorProto.INT8}


def model(dtype: str, by: np.ndarray | None = None, *, as_node: bool = False) -> onnx.ModelProto:
    """x / d, where d is an input, a weight or a Constant."""
    port = helper.make_tensor_value_info
    inputs = [port("x", CODES[dtype], ["n"])]
    nodes = [helper.make_node("Div", ["x", "d"], ["y"])]
    weights = []
    if by is None:
        inputs.append(port("d", CODES[dtype], ["m"]))
    elif as_node:
        nodes.insert(0, helper.make_node("Constant", [], ["d"], value=numpy_helper.from_array(by)))
    else:
        weights.append(numpy_helper.from_array(by, "d"))
    graph = helper.make_graph(nodes, "g", inputs, [port("y", CODES[dtype], ["k"])], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def refused(made: onnx.ModelProto, **given: np.ndarray) -> str:
    return without_quotient(input_divisions(GraphIndex(made)), given.get)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_the_smallest_number_by_minus_one_is_refused(dtype: str) -> None:
    x = np.array([7, LEAST[dtype], 9], dtype)
    minus = np.array([-1], dtype)
    said = (
        f"input 'x' holds {LEAST[dtype]}, which the model divides by -1: the quotient does not fit"
    )
    assert refused(model(dtype), x=x, d=minus).startswith(said)
    assert refused(model(dtype, minus), x=x).startswith(said)
    assert refused(model(dtype, minus, as_node=True), x=x).startswith(said)


@pytest.mark.parametrize("dtype", ["int32", "int64", "int8"])
def test_what_has_a_quotient_is_computed(dtype: str) -> None:
    """The two numbers are there, and do not meet; or they wrap around, as onnxruntime has them."""
    x = np.array([7, LEAST[dtype]], dtype)
    apart = np.array([-1, 2], dtype)
    for made, given in (
        (model(dtype), {"x": x, "d": apart}),
        (model(dtype, apart), {"x": x}),
        (model(dtype, np.array([2], dtype)), {"x": x}),
        (model(dtype), {"x": x[:0], "d": apart[:1]}),
        (model("int8"), {"x": np.array([-128], np.int8), "d": np.array([-1], np.int8)}),
    ):
        assert refused(made, **given) == ""
        onnxruntime.InferenceSession(made.SerializeToString()).run(None, given)


def test_numbers_meet_where_they_are_broadcast_and_nothing_is_broadcast_for_it() -> None:
    """Broadcast these would be 10 GB, twice."""
    by = ({"dividend": "x", "by": "d"},)
    x, d = np.ones((100_000, 1), np.int32), np.ones((1, 100_000), np.int32)
    assert without_quotient(by, {"x": x, "d": d}.get) == ""
    x[7] = LEAST["int32"]
    assert without_quotient(by, {"x": x, "d": d}.get) == ""
    d[0, 9] = -1
    assert "'x' holds" in without_quotient(by, {"x": x, "d": d}.get)
    x = np.array([[LEAST["int32"], 1], [1, 1]], np.int32)
    assert without_quotient(by, {"x": x, "d": np.array([2, -1], np.int32)}.get) == ""
    assert without_quotient(by, {"x": x, "d": np.array([-1, 2], np.int32)}.get) != ""
    assert without_quotient(by, {"x": x, "d": np.array([[2], [-1]], np.int32)}.get) == ""
    assert without_quotient(by, {"x": x, "d": np.array(-1, np.int32)}.get) != ""


def test_shapes_that_do_not_go_together_are_the_runtimes_to_refuse() -> None:
    x, d = np.full(3, LEAST["int32"], np.int32), np.full(2, -1, np.int32)
    assert refused(model("int32"), x=x, d=d) == ""


def test_a_division_that_no_output_needs_is_none() -> None:
    made = model("int32")
    made.graph.node[0].output[0] = "unused"
    made.graph.node.append(helper.make_node("Identity", ["x"], ["y"]))
    assert [*input_divisions(GraphIndex(made))] == []
