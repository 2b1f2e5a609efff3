"""The proof that rows of a batch are computed each for itself: what it follows, and what it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from inference.graph.batching.rows.proof import prove
from inference.graph.files import InvalidModel, serialise
from inference.graph.indexed import GraphIndex
from inference.graph.model import load, normalise, ports
from inference.graph.reference import example_inputs
from inference.graph.runtime import session
from inference.graph.spec import TensorSpec
from inference.zoo.families import FAMILIES
from inference.zoo.precision import PRECISIONS
from tests.support.random_graphs import random_graph
from tests.support.row_graphs import RowGraph
from tests.support.row_proofs import (
    FLOAT,
    INPUTS,
    INT64,
    WEIGHTS,
    apart,
    batch_of,
    graph,
    node,
    why_not,
)

SHAPE_OF_X = node("Shape", ["x"], ["shape"])
FIRST = node("Gather", ["shape", "i0"], ["rows"])
# Operators by which rows stay apart: name → nodes that make y of x and ids.
APART: dict[str, list[onnx.NodeProto]] = {
    "elementwise": [node("Tanh", ["x"], ["t"]), node("Add", ["t", "x"], ["y"])],
    "a weight for every row": [node("Mul", ["x", "row"], ["y"])],
    "a bias": [node("Add", ["x", "bias"], ["y"])],
    "a choice": [node("Greater", ["x", "half"], ["g"]), node("Where", ["g", "x", "row"], ["y"])],
    "clip": [node("Clip", ["x", "", "half"], ["y"])],
    "dropout that is off": [node("Dropout", ["x"], ["y"])],
    "product with a matrix": [node("MatMul", ["x", "w"], ["y"])],
    "matrix in front": [node("MatMul", ["w4", "x"], ["y"])],
    "products of activations": [
        node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), node("MatMul", ["x", "t"], ["y"]),
    ],
    "gemm": [
        node("Reshape", ["x", "to_24"], ["r"]), node("Slice", ["r", "i0", "i6", "i1"], ["c"]),
        node("Gemm", ["c", "w", "bias"], ["y"], transB=1),
    ],
    "einsum": [node("Einsum", ["x", "w"], ["y"], equation="bij,jk->bki")],
    "convolution": [node("Conv", ["x", "kernel"], ["y"])],
    "images": [
        node("Reshape", ["x", "image"], ["r"]), node("Conv", ["r", "kernel2"], ["c"], pads=[1] * 4),
        node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2]), node("GlobalAveragePool", ["p"], ["g"]),
        node("Flatten", ["g"], ["y"]),
    ],
    "known statistics": [
        node("BatchNormalization", ["x", "ones4", "ones4", "ones4", "ones4"], ["y"]),
    ],
    "statistics of each image": [node("InstanceNormalization", ["x", "ones4", "ones4"], ["y"])],
    "layer normalisation": [node("LayerNormalization", ["x", "ones", "bias"], ["y"], axis=-1)],
    "root mean square": [
        node("SimplifiedLayerNormalization", ["x", "ones"], ["y"], axis=-1),
    ],
    "normalised sum": [
        node("SkipLayerNormalization", ["x", "row", "ones", "bias"], ["y"], domain="com.microsoft"),
    ],
    "softmax": [node("Softmax", ["x"], ["y"], axis=1)],
    "reductions": [
        node("ReduceSum", ["x", "i1"], ["s"], keepdims=0), node("ReduceMax", ["s"], ["y"], axes=[-1]),
    ],
    "largest": [node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)],
    "largest few": [node("TopK", ["x", "i2"], ["y", "places"], axis=2)],
    "running sum": [node("CumSum", ["x", "s1"], ["y"])],
    "embedding": [node("Gather", ["table", "ids"], ["y"])],
    "one place of each row": [node("Gather", ["x", "s1"], ["y"], axis=1)],
    "places of its own": [
        node("Unsqueeze", ["ids", "i2"], ["u"]), node("GatherElements", ["x", "u"], ["y"], axis=1),
    ],
    "places of its own, n-dimensional": [
        node("Unsqueeze", ["ids", "i2"], ["u"]), node("GatherND", ["x", "u"], ["y"], batch_dims=1),
    ],
    "one of many": [node("OneHot", ["ids", "depth", "on_off"], ["y"])],
    "triangle": [node("Trilu", ["x"], ["y"])],
    "put together": [
        node("Split", ["x", "halves"], ["a", "b"], axis=2), node("Concat", ["b", "a", "x"], ["y"], axis=2),
    ],
    "padded": [node("Pad", ["x", "pads"], ["y"])],
    "repeated": [node("Tile", ["x", "tile"], ["y"])],
    "larger image": [
        node("Reshape", ["x", "image"], ["r"]), node("Resize", ["r", "", "scales"], ["y"], mode="nearest"),
    ],
    "heads": [
        node("Reshape", ["x", "heads"], ["r"]), node("Transpose", ["r"], ["t"], perm=[0, 2, 1, 3]),
        node("Softmax", ["t"], ["p"]), node("Transpose", ["p"], ["u"], perm=[0, 2, 1, 3]),
        node("Shape", ["x"], ["shape"]), node("Reshape", ["u", "shape"], ["y"]),
    ],
    "heads and rows in one axis": [
        node("Reshape", ["x", "flat"], ["r"]), node("MatMul", ["r", "w"], ["m"]),
        node("Reshape", ["m", "back"], ["y"]),
    ],
    "rows inside another axis": [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]), node("Reshape", ["t", "flat"], ["r"]),
        node("MatMul", ["r", "w"], ["m"]), node("Shape", ["t"], ["shape"]),
        node("Reshape", ["m", "shape"], ["b"]), node("Transpose", ["b"], ["y"], perm=[1, 0, 2]),
    ],
    "a target made of sizes": [
        SHAPE_OF_X, FIRST, node("Concat", ["rows", "neg"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["y"]),
    ],
    "an axis that comes and goes": [
        node("Unsqueeze", ["x", "i0"], ["u"]), node("Tanh", ["u"], ["t"]),
        node("Squeeze", ["t", "i0"], ["y"]),
    ],
    "a weight for each row, expanded": [
        SHAPE_OF_X, node("Expand", ["row", "shape"], ["e"]), node("Concat", ["e", "x"], ["y"], axis=1),
    ],
    "zeros of its shape": [
        SHAPE_OF_X, node("ConstantOfShape", ["shape"], ["z"]), node("Add", ["z", "x"], ["y"]),
    ],
    "all of the rows": [node("Slice", ["x", "i0", "end", "i0"], ["y"])],
    "positions, counted": [
        node("Mul", ["ids", "s0"], ["z"]), node("Add", ["z", "s1"], ["o"]),
        node("CumSum", ["o", "s1"], ["p"]), node("ReduceMax", ["p"], ["first"], axes=[0], keepdims=1),
        node("Gather", ["table", "first"], ["e"]), node("Slice", ["x", "i0", "i3", "i2"], ["c"]),
        node("Add", ["c", "e"], ["y"]),
    ],
    "an LSTM over time": [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node("LSTM", ["t", "lstm", "lstm_r"], ["", "h"], hidden_size=4),
        node("Squeeze", ["h", "i0"], ["y"]),
    ],
    "quantised": [
        node("QuantizeLinear", ["x", "half", "point"], ["q"]),
        node("DequantizeLinear", ["q", "half", "point"], ["y"]),
    ],
    "packed weights": [
        node("MatMulNBits", ["x", "bits", "bit_scales"], ["y"], domain="com.microsoft", K=6, N=6,
             bits=4, block_size=32),
    ],
    "fused attention": [
        node("MultiHeadAttention", ["x", "x", "x"], ["y"], domain="com.microsoft", num_heads=2),
    ],
}  # fmt: skip
WEIGHTS |= {"tile": np.array([1, 2, 1]), "i3": np.array([3]), "i6": np.array([6])}


@pytest.mark.parametrize("nodes", APART.values(), ids=APART)
def test_rows_that_stay_apart_are_proved_and_do(nodes: list[onnx.NodeProto]) -> None:
    model = graph(nodes)
    assert why_not(model) == ""
    used = {name for one in nodes for name in one.input}
    apart(model, [batch_of(2), batch_of(5)], sorted({"x", "ids"} & used))


# Operators by which rows meet, or of which nobody can say.
MEET: dict[str, tuple[str, list[onnx.NodeProto]]] = {
    "transposed": ("different axes", [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]), node("Add", ["t", "x"], ["y"]),
    ]),
    "a weight with three places": ("places", [node("Add", ["x", "three"], ["y"])]),
    "softmax over rows": ("over the rows", [node("Softmax", ["x"], ["y"], axis=0)]),
    "mean of rows": ("over the rows", [
        node("ReduceMean", ["x"], ["m"], axes=[0]), node("Sub", ["x", "m"], ["y"]),
    ]),
    "sum of everything": ("over the rows", [
        node("ReduceSum", ["x"], ["m"]), node("Sub", ["x", "m"], ["y"]),
    ]),
    "running sum of rows": ("adds up", [node("CumSum", ["x", "s0"], ["y"])]),
    "sorted rows": ("sorts", [node("TopK", ["x", "i1"], ["y", "places"], axis=0)]),
    "groups of eight": ("how they divide", [
        node("Reshape", ["x", "fold"], ["f"]), node("Reshape", ["f", "back"], ["y"]),
    ]),
    "the first row": ("some rows", [
        node("Slice", ["x", "i0", "i1", "i0"], ["f"]), node("Add", ["f", "x"], ["y"]),
    ]),
    "rows from the fifth on": ("some rows", [
        node("Slice", ["x", "i0", "i6", "i0"], ["f"]), node("Add", ["x", "f"], ["y"]),
    ]),
    "places in the whole batch": ("not followed", [
        node("MaxPool", ["x"], ["m", "y"], kernel_shape=[2]),
    ]),
    "statistics of the batch": ("statistics", [
        node("BatchNormalization", ["x", "ones4", "ones4", "ones4", "ones4"], ["y", "mean", "var"],
             training_mode=1),
    ]),
    "the number of rows": ("how many rows", [
        node("Size", ["x"], ["n"]), node("Cast", ["n"], ["f"], to=FLOAT), node("Div", ["x", "f"], ["y"]),
    ]),
    "a table by row": ("how many rows", [
        SHAPE_OF_X, node("Gather", ["shape", "s0"], ["n"]), node("Range", ["s0", "n", "s1"], ["places"]),
        node("Gather", ["table", "places"], ["e"]), node("Unsqueeze", ["e", "i1"], ["u"]),
        node("ReduceMean", ["u"], ["m"], axes=[2]), node("Add", ["x", "m"], ["y"]),
    ]),
    "one scale for the whole batch": ("nothing is known", [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "p"]),
        node("DequantizeLinear", ["q", "s", "p"], ["y"]),
    ]),
    "noise": ("nothing is known", [node("RandomNormalLike", ["x"], ["y"])]),
    "noise of the same shape for all": ("nothing is known", [
        node("RandomNormal", [], ["n"], shape=[1, 4, 6]), node("Add", ["x", "n"], ["y"]),
    ]),
    "attention between rows": ("multiplies rows", [
        node("Transpose", ["x"], ["q"], perm=[1, 0, 2]), node("Transpose", ["x"], ["k"], perm=[1, 2, 0]),
        node("MatMul", ["q", "k"], ["s"]), node("Softmax", ["s"], ["p"]), node("MatMul", ["p", "q"], ["a"]),
        node("Transpose", ["a"], ["y"], perm=[1, 0, 2]),
    ]),
    "without a named axis": ("depends on the sizes", [node("Squeeze", ["x"], ["y"])]),
    "merged behind time": ("stay apart", [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]), node("Reshape", ["t", "back"], ["y"]),
    ]),
    "an LSTM over rows": ("steps", [node("LSTM", ["x", "lstm", "lstm_r"], ["", "", "y"], hidden_size=4)]),
    "nothing of the batch": ("does not depend", [node("Tanh", ["w"], ["y"])]),
    "rows at the end": ("first axis", [node("Transpose", ["x"], ["y"], perm=[1, 0, 2])]),
    "a foreign operator": ("nothing is known", [
        node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft"),
    ]),
    "old softmax": ("over the rows", []),
}  # fmt: skip


@pytest.mark.parametrize(("reason", "nodes"), MEET.values(), ids=MEET)
def test_rows_that_may_meet_are_not_proved(reason: str, nodes: list[onnx.NodeProto]) -> None:
    if not nodes:
        why = why_not(graph([node("Softmax", ["x"], ["y"], axis=0)], version=11))
    else:
        why = why_not(graph(nodes))
    assert reason in why
    assert why.startswith("output 'y': ")


def test_a_branch_that_depends_on_the_number_of_rows_is_not_proved() -> None:
    branches = {
        f"{name}_branch": helper.make_graph(
            [node(kind, ["x"], [f"{name}_y"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_y", FLOAT, None)],
        )
        for name, kind in (("then", "Identity"), ("else", "Neg"))
    }  # fmt: skip
    nodes = [SHAPE_OF_X, FIRST, node("Greater", ["rows", "four"], ["many"])]
    nodes.append(node("If", ["many"], ["y"], **branches))
    WEIGHTS["four"] = np.array([4])
    assert "how many rows" in why_not(graph(nodes))


def test_functions_of_the_file_are_followed() -> None:
    model = graph([node("Twice", ["x"], ["y"], domain="own")])
    model.opset_import.append(helper.make_opsetid("own", 1))
    for axis, proved in ((2, True), (0, False)):
        del model.functions[:]
        body = [node("Softmax", ["a"], ["b"], axis=axis)]
        opsets = [helper.make_opsetid("", 17)]
        model.functions.append(helper.make_function("own", "Twice", ["a"], ["b"], body, opsets))
        assert (why_not(model) == "") is proved


def test_an_input_that_is_not_split_is_the_same_for_all_rows() -> None:
    """Unless it has a place for each of them."""
    for shape, proved in (
        ((6,), True),
        ((1, 4, 6), True),
        ((3, 4, 6), False),
        (("n", 4, 6), False),
    ):
        model = graph([node("Add", ["x", "other"], ["y"])])
        model.graph.input.append(helper.make_tensor_value_info("other", FLOAT, shape))
        inputs = (*INPUTS, TensorSpec("other", "float32", shape))
        assert (prove(GraphIndex(model), inputs, ("x", "ids")) == "") is proved


def test_a_weight_that_may_be_overridden_is_no_constant() -> None:
    model = graph([node("CumSum", ["x", "s1"], ["y"])])
    assert why_not(model) == ""
    model.graph.input.append(helper.make_tensor_value_info("s1", INT64, []))
    assert "not a constant" in why_not(model)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_the_zoo_is_proved(family: str, precision: str, tmp_path: Path) -> None:
    """But for what compares texts with images, which has no batch."""
    for component in FAMILIES[family].build(tmp_path, precision=PRECISIONS[precision]):
        if component.role == "similarity":
            continue
        model = load(component.path)
        inputs, _ = ports(model)
        batch = inputs[0].shape[0]
        batched = [spec.name for spec in inputs if spec.shape[0] == batch]
        assert prove(GraphIndex(model), inputs, batched) == ""


def moved_about(seed: int, steps: int) -> onnx.ModelProto | None:
    """A random graph; None: it is none that onnxruntime takes."""
    model = RowGraph(seed, steps=steps).model
    normalise(model)
    try:
        session(serialise(model))
    except InvalidModel:
        return None
    return model


@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 9))
@settings(max_examples=250, deadline=None)
def test_what_is_proved_of_a_graph_that_moves_its_batch_about_is_true(
    seed: int, steps: int
) -> None:
    model = moved_about(seed, steps)
    if model is None or prove(GraphIndex(model), INPUTS[:1], ("x",)):
        return
    apart(model, [batch_of(rows) for rows in (1, 2, 3, 6, 9)], ("x",))


@given(seed=st.integers(0, 2**32 - 1), blocks=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_what_is_proved_of_random_graphs_is_true(seed: int, blocks: int) -> None:
    made = random_graph(seed, blocks=blocks)
    normalise(made.model)
    inputs, _ = ports(made.model)
    split = ("x", "ids", "flags")
    if prove(GraphIndex(made.model), inputs, split):
        return
    sizes = ({"rows": rows} for rows in (2, 5, 9))
    batches = [example_inputs(made.model, inputs, seed=seed, dims=dims) for dims in sizes]
    apart(made.model, batches, split)


def test_the_random_graphs_are_of_both_kinds() -> None:
    """Neither property above is empty: enough graphs are proved, and enough of those that meet are not."""
    proved = 0
    for seed in range(60):
        model = moved_about(seed, 5)
        proved += model is not None and not prove(GraphIndex(model), INPUTS[:1], ("x",))
    assert 10 <= proved <= 50
