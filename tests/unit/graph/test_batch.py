"""Which models may have a batch split over browsers: those whose rows are computed each for itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference.graph.batching.batch import batch_axis
from inference.graph.batching.batch_axis import BatchAxis, Verdict, refused
from inference.graph.files import serialise
from inference.graph.indexed import GraphIndex
from inference.graph.model import load, ports
from inference.graph.reference import equal, example_inputs, reference
from inference.graph.runtime import session
from inference.graph.summary import read_model
from inference.zoo import bert, micro, small
from tests.support.meeting import meets_after

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
node = helper.make_node
Shape = Sequence[int | str]


def answer(
    folder: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, tuple[int, Shape]],
    outputs: dict[str, tuple[int, Shape]],
    **weights: Any,
) -> BatchAxis:
    graph = helper.make_graph(
        list(nodes),
        "batch",
        [helper.make_tensor_value_info(n, t, list(s)) for n, (t, s) in inputs.items()],
        [helper.make_tensor_value_info(n, t, list(s)) for n, (t, s) in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = folder / "model.onnx"
    onnx.save(model, path)
    return read_model(path).batch_axis


X: dict[str, tuple[int, Shape]] = {"x": (FLOAT, ["batch", 4])}
Y: dict[str, tuple[int, Shape]] = {"y": (FLOAT, ["batch", 4])}
W = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
ONES = np.ones(4, np.float32)

MIXING: dict[str, list[onnx.NodeProto]] = {
    "softmax over the batch": [node("Softmax", ["x"], ["y"], axis=0)],
    "mean of the batch": [
        node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
        node("Sub", ["x", "m"], ["y"]),
    ],
    "batch statistics": [
        node(
            "BatchNormalization",
            ["x", "ones", "ones", "ones", "ones"],
            ["y", "mean", "variance"],
            training_mode=1,
        )
    ],
    "running sum": [node("CumSum", ["x", "zero"], ["y"])],
    "attention between rows": [
        node("Transpose", ["x"], ["t"], perm=[1, 0]),
        node("MatMul", ["x", "t"], ["s"]),
        node("Softmax", ["s"], ["p"], axis=-1),
        node("MatMul", ["p", "x"], ["y"]),
    ],
    "order of the rows": [
        node("Shape", ["x"], ["s"], start=0, end=1),
        node("TopK", ["x", "s"], ["y", "places"], axis=0),
    ],
    "number of rows": [
        node("Shape", ["x"], ["s"], start=0, end=1),
        node("Cast", ["s"], ["f"], to=FLOAT),
        node("Div", ["x", "f"], ["y"]),
    ],
    "norm of the whole": [
        node("ReduceL2", ["x"], ["n"], keepdims=1),
        node("Div", ["x", "n"], ["y"]),
    ],
}


@pytest.mark.parametrize("nodes", MIXING.values(), ids=MIXING)
def test_rows_that_influence_one_another_are_not_split(
    nodes: list[onnx.NodeProto], tmp_path: Path
) -> None:
    found = answer(tmp_path, nodes, X, Y, ones=ONES, zero=np.array(0, np.int64))
    assert found.verdict == Verdict.NO
    assert found.inputs == ()
    assert "influence one another" in found.reason


ROWWISE: dict[str, list[onnx.NodeProto]] = {
    "dense": [node("MatMul", ["x", "w"], ["y"])],
    "softmax of each row": [node("Softmax", ["x"], ["y"], axis=-1)],
    "known statistics": [
        node("BatchNormalization", ["x", "ones", "ones", "ones", "ones"], ["y"]),
    ],
    "sorted rows": [node("TopK", ["x", "four"], ["y", "places"], axis=1)],
}


@pytest.mark.parametrize("nodes", ROWWISE.values(), ids=ROWWISE)
def test_rows_for_themselves_are_split(nodes: list[onnx.NodeProto], tmp_path: Path) -> None:
    found = answer(tmp_path, nodes, X, Y, ones=ONES, w=W, four=np.array([4], np.int64))
    assert found == BatchAxis(Verdict.PROVED, ("x",), tried=(3,))


def test_an_input_without_the_batch_goes_whole_to_each_part(tmp_path: Path) -> None:
    found = answer(
        tmp_path,
        [node("MatMul", ["x", "matrix"], ["y"])],
        {**X, "matrix": (FLOAT, [4, 4])},
        Y,
    )
    assert found.inputs == ("x",)


def test_a_fixed_batch_is_not_split(tmp_path: Path) -> None:
    found = answer(
        tmp_path, [node("Tanh", ["x"], ["y"])], {"x": (FLOAT, [2, 4])}, {"y": (FLOAT, [2, 4])}
    )
    assert found.verdict == Verdict.NO
    assert "x[2, 4]" in found.reason


def test_an_output_that_sums_the_batch_is_not_split(tmp_path: Path) -> None:
    nodes = [node("Tanh", ["x"], ["y"]), node("ReduceMean", ["x"], ["loss"], keepdims=0)]
    found = answer(tmp_path, nodes, X, {**Y, "loss": (FLOAT, [])})
    assert found.verdict == Verdict.NO


def encoder(path: Path) -> Path:
    config = bert.BertConfig(layers=1)
    return bert.build(path, config, bert.random_weights(config, 5))


@pytest.mark.parametrize(
    ("build", "inputs"),
    [
        (encoder, ["input_ids", "attention_mask", "token_type_ids"]),
        (small.convolutions, ["image"]),
        (small.many_ports, ["x", "ids", "keep"]),
        (small.mlp, ["x"]),
        (micro.chain, ["x"]),
    ],
)
def test_batches_of_whole_models(build: Any, inputs: list[str], tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx")
    summary = read_model(path)
    assert summary.batch_axis == BatchAxis(Verdict.PROVED, tuple(inputs), tried=(3,))
    first = summary.inputs[0].shape[0]
    assert isinstance(first, str)
    whole = example_inputs(load(path), summary.inputs, seed=4, dims={first: 5})
    parts = [
        reference(path, {n: a[rows] for n, a in whole.items()}) for rows in (slice(2), slice(2, 5))
    ]
    for name, expected in reference(path, whole).items():
        assert equal(np.concatenate([part[name] for part in parts]), expected)


def test_a_recurrent_net_with_time_first_is_not_split_over_time(tmp_path: Path) -> None:
    assert read_model(small.recurrent(tmp_path / "m.onnx")).batch_axis.verdict == Verdict.NO


def test_images_large_enough_for_a_deep_net_are_tried(tmp_path: Path) -> None:
    """Five poolings need images of 32 × 32 at least."""
    nodes = [
        node("MaxPool", [f"p{i}" if i else "image"], [f"p{i + 1}"], kernel_shape=[2, 2], strides=[2, 2])
        for i in range(5)
    ]  # fmt: skip
    nodes += [node("GlobalAveragePool", ["p5"], ["g"]), node("Flatten", ["g"], ["y"])]
    found = answer(
        tmp_path,
        nodes,
        {"image": (FLOAT, ["batch", 3, "height", "width"])},
        {"y": (FLOAT, ["batch", 3])},
    )
    assert found.verdict == Verdict.PROVED, found


def test_why_no_trial_ran_is_said_in_words(tmp_path: Path) -> None:
    """Of sizes that do not go together, as a decoder's, onnxruntime tells places in its own source."""
    ends = {"start": np.array([0]), "end": np.array([100]), "axis": np.array([0])}
    nodes = [
        node("Slice", ["x", *ends], ["some"]),
        node("Mul", ["some", "w"], ["y"], "scales"),
    ]
    inputs: dict[str, tuple[int, Shape]] = {"x": (FLOAT, ["batch", "n"])}
    outputs: dict[str, tuple[int, Shape]] = {"y": (FLOAT, ["batch", "n"])}
    found = answer(tmp_path, nodes, inputs, outputs, w=np.ones(48, np.float32), **ends)
    assert found.verdict == Verdict.NO
    assert "onnxruntime cannot compute Mul (node 'scales') with sizes that" in found.reason
    assert "onnxruntime_src" not in found.reason


def test_rows_that_meet_only_above_four_are_found_by_larger_batches(tmp_path: Path) -> None:
    found = read_model(meets_after(tmp_path / "m.onnx", 4)).batch_axis
    assert found.verdict == Verdict.NO
    assert "batch of 5 influence one another" in found.reason


def test_rows_that_meet_only_above_all_sizes_tried_are_not_called_proved(tmp_path: Path) -> None:
    found = read_model(meets_after(tmp_path / "m.onnx", 100)).batch_axis
    assert found.verdict == Verdict.TRIED
    assert found.inputs == ("x",)
    assert found.tried == (2, 3, 5, 8, 17, 33, 64)
    assert "Slice: it takes some rows of the batch" in found.reason
    assert not found.may_split(allow_unproved=False)
    assert found.may_split(allow_unproved=True)


def test_rows_that_are_folded_in_groups_are_not_split(tmp_path: Path) -> None:
    nodes = [
        node("Reshape", ["x", "groups"], ["g"]),
        node("Softmax", ["g"], ["s"], axis=1),
        node("Reshape", ["s", "back"], ["y"]),
    ]
    groups, back = np.array([-1, 8, 4]), np.array([-1, 4])
    found = answer(tmp_path, nodes, X, Y, groups=groups, back=back)
    assert found.verdict == Verdict.NO


def test_trials_that_would_take_too_long_are_left_out_and_not_claimed(tmp_path: Path) -> None:
    """A clock by which a row takes a second: 17 and more rows would exceed the bound of 20 s."""
    model = load(meets_after(tmp_path / "m.onnx", 100))
    times = iter(range(0, 10_000, 3))
    found = batch_axis(
        GraphIndex(model),
        session(serialise(model)),
        *ports(model),
        clock=lambda: float(next(times)),
    )
    assert found.verdict == Verdict.TRIED
    assert found.tried == (2, 3, 5, 8)


def test_a_verdict_survives_json() -> None:
    for axis in (BatchAxis(Verdict.TRIED, ("x",), "why", (2, 3)), refused("because")):
        assert BatchAxis.from_json(json.loads(json.dumps(axis.to_json()))) == axis
