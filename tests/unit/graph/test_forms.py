"""Operator forms that backends get wrong are found wherever they stand, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

from inference.graph.forms import (
    ALL,
    CHOSEN_BRANCH,
    INTEGER_DIVISION,
    INTEGER_POWER,
    LAST_INDEX_OF_TIES,
    SCATTER_ORDER,
    UNCHECKED_INDEX,
    traits,
)
from inference.graph.model import load
from inference.zoo.families import FAMILIES
from inference.zoo.precision import FLOAT16

node = h.make_node


def port(name: str, kind: int = T.INT64, shape: Any = ("n",)) -> onnx.ValueInfoProto:
    return h.make_tensor_value_info(name, kind, shape)


def model(
    nodes: list[onnx.NodeProto],
    inputs: list[Any],
    weights: dict[str, Any] | None = None,
    **more: Any,
) -> onnx.ModelProto:
    tensors = [nh.from_array(np.asarray(a), name) for name, a in (weights or {}).items()]
    last = nodes[-1].output[0]
    graph = h.make_graph(nodes, "g", inputs, [onnx.ValueInfoProto(name=last)], tensors)
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9, **more)


INTS, FLOATS = port("a"), port("x", T.FLOAT)
TABLE = {"t": np.zeros((10, 2), np.float32)}


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (model([node("Div", ["a", "b"], ["y"])], [INTS, port("b")]), {INTEGER_DIVISION}),
        (model([node("Mod", ["a", "b"], ["y"])], [INTS, port("b")]), {INTEGER_DIVISION}),
        (model([node("Div", ["a", "c"], ["y"])], [INTS], {"c": np.array([2, 3])}), set()),
        (model([node("Div", ["a", "c"], ["y"])], [INTS], {"c": np.array([2, 0])}), {INTEGER_DIVISION}),
        (model([node("Div", ["a", "c"], ["y"])], [INTS], {"c": np.int64(-1)}), {INTEGER_DIVISION}),
        (model([node("Div", ["x", "b"], ["y"])], [FLOATS, port("b", T.FLOAT)]), set()),
        (
            model([node("Size", ["x"], ["s"]), node("Div", ["a", "s"], ["y"])], [INTS, FLOATS]),
            set(),
        ),
        (model([node("ArgMax", ["x"], ["y"], select_last_index=1)], [FLOATS]), {LAST_INDEX_OF_TIES}),
        (model([node("ArgMax", ["x"], ["y"])], [FLOATS]), set()),
        (
            model([node("Add", ["a", "a"], ["i"]), node("Gather", ["t", "i"], ["y"])], [INTS], TABLE),
            {UNCHECKED_INDEX},
        ),
        (
            model([node("Gather", ["x", "a"], ["y"])], [INTS, FLOATS]),
            {UNCHECKED_INDEX},
        ),
        (
            model(
                [node("ArgMax", ["x"], ["i"], axis=0), node("Gather", ["x", "i"], ["y"], axis=0)], [FLOATS]
            ),
            set(),
        ),
        (
            model(
                [node("ArgMax", ["x"], ["i"], axis=0), node("Gather", ["t", "i"], ["y"])], [FLOATS], TABLE
            ),
            {UNCHECKED_INDEX},
        ),
    ],
)  # fmt: skip
def test_forms_of_single_operators(built: onnx.ModelProto, expected: set[str]) -> None:
    assert traits(built).forms == expected


LOOSE = {
    "divided by a number of non-zeros": [
        node("NonZero", ["x"], ["z"]), node("Size", ["z"], ["s"]), node("Div", ["a", "s"], ["y"]),
    ],
    "divided by the size of a slice": [
        node("Slice", ["x", "zero", "b"], ["z"]), node("Size", ["z"], ["s"]), node("Div", ["a", "s"], ["y"]),
    ],
    "divided by a computed constant": [node("Neg", ["one"], ["s"]), node("Div", ["a", "s"], ["y"])],
    "divided by a constant attribute": [
        node("Constant", [], ["s"], value_int=-1), node("Div", ["a", "s"], ["y"]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("nodes", LOOSE.values(), ids=LOOSE)
def test_sizes_that_depend_on_values_and_constants_that_are_computed(nodes: list[Any]) -> None:
    weights = {"zero": np.array([0]), "one": np.array([1])}
    built = model(nodes, [INTS, FLOATS, port("b")], weights)
    assert INTEGER_DIVISION in traits(built).forms


def test_a_branch_on_a_number_of_non_zeros_is_chosen_by_values() -> None:
    out = onnx.ValueInfoProto(name="t")
    branch = h.make_graph([node("Identity", ["x"], ["t"])], "b", [], [out])
    nodes = [
        node("NonZero", ["x"], ["z"]), node("Size", ["z"], ["s"]), node("Cast", ["s"], ["c"], to=T.BOOL),
        node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
    ]  # fmt: skip
    assert traits(model(nodes, [FLOATS])).forms == {CHOSEN_BRANCH}


def test_a_weight_that_may_be_given_is_no_constant() -> None:
    nodes = [node("Mod", ["a", "d"], ["y"])]
    assert traits(model(nodes, [INTS], {"d": np.array([3])})).forms == set()
    assert traits(model(nodes, [INTS, port("d")], {"d": np.array([3])})).forms == {INTEGER_DIVISION}


def test_a_constant_of_a_branch_is_none_outside() -> None:
    weights = [nh.from_array(np.array([3]), "d")]
    branch = h.make_graph(
        [node("Identity", ["d"], ["t"])], "b", [], [onnx.ValueInfoProto(name="t")], weights
    )
    nodes = [
        node("If", ["c"], ["p"], then_branch=branch, else_branch=branch),
        node("Abs", ["b"], ["d"]), node("Div", ["a", "d"], ["y"]),
    ]  # fmt: skip
    built = model(nodes, [INTS, port("b"), port("c", T.BOOL, ())])
    assert INTEGER_DIVISION in traits(built).forms


def test_functions_of_another_operator_set_may_hold_anything() -> None:
    inner = h.make_function(
        "own",
        "noise",
        ["p"],
        ["r"],
        [node("RandomNormalLike", ["p"], ["r"])],
        [h.make_opsetid("", 13)],
    )
    graph = h.make_graph(
        [node("noise", ["x"], ["y"], domain="own")], "g", [FLOATS], [port("y", T.FLOAT)]
    )
    opsets = [h.make_opsetid("", 18), h.make_opsetid("own", 1)]
    found = traits(h.make_model(graph, functions=[inner], opset_imports=opsets, ir_version=9))
    assert (found.forms, found.random) == (ALL, ("RandomNormalLike",))


@pytest.mark.parametrize(
    ("operator", "indices", "expected"),
    [
        ("ScatterElements", np.array([0, 2]), set()),
        ("ScatterElements", np.array([1, 1]), {SCATTER_ORDER}),
        ("ScatterND", np.array([[0], [1]]), set()),
        ("ScatterND", np.array([[1], [1]]), {SCATTER_ORDER}),
    ],
)
def test_a_scatter_that_may_write_twice(operator: str, indices: Any, expected: set[str]) -> None:
    nodes = [node(operator, ["t", "i", "u"], ["y"])]
    weights = {"t": np.zeros(4, np.float32), "u": np.ones(2, np.float32), "i": indices}
    assert traits(model(nodes, [], weights)).forms == expected


def test_places_in_caches_are_not_checked() -> None:
    rotary = node("RotaryEmbedding", ["x", "a", "t", "t"], ["y"], domain="com.microsoft")
    assert traits(model([rotary], [FLOATS, INTS], TABLE)).forms == {UNCHECKED_INDEX}


def test_an_optional_index_that_is_left_out_is_nothing() -> None:
    nodes = [node("TensorScatter", ["t", "x"], ["y"])]
    assert traits(model(nodes, [FLOATS], TABLE)).forms == {SCATTER_ORDER}


@pytest.mark.parametrize(
    ("nodes", "narrows"),
    [
        ([node("Cast", ["x"], ["y"], to=T.UINT8)], True),
        ([node("Cast", ["a"], ["y"], to=T.INT32)], False),
        ([node("Cast", ["t"], ["y"], to=T.INT32)], False),
    ],
)
def test_computed_floats_that_become_integers(nodes: list[Any], narrows: bool) -> None:
    assert traits(model(nodes, [INTS, FLOATS], TABLE)).narrows is narrows


def test_whole_numbers_that_are_raised() -> None:
    assert traits(model([node("Pow", ["a", "b"], ["y"])], [INTS, port("b")])).forms == {
        INTEGER_POWER
    }
    assert traits(model([node("Pow", ["x", "b"], ["y"])], [FLOATS, port("b")])).forms == set()


@pytest.mark.parametrize(
    "between",
    [
        [],
        [node("Cast", ["a"], ["i"], to=T.INT32)],
        [node("Unsqueeze", ["a", "zero"], ["u"]), node("Identity", ["u"], ["i"])],
    ],
)
def test_an_input_that_is_looked_up_as_it_comes_has_the_tables_length(between: list[Any]) -> None:
    index = "i" if between else "a"
    weights = {**TABLE, "zero": np.array([0])}
    found = traits(model([*between, node("Gather", ["t", index], ["y"])], [INTS], weights))
    assert (found.forms, found.index_limits) == (frozenset(), {"a": 10})


def test_the_shorter_of_two_tables_counts() -> None:
    weights = {**TABLE, "short": np.zeros((3, 2), np.float32)}
    nodes = [
        node("Gather", ["t", "a"], ["p"]),
        node("Gather", ["short", "a"], ["q"]),
        node("Add", ["p", "q"], ["y"]),
    ]
    assert traits(model(nodes, [INTS], weights)).index_limits == {"a": 3}


def test_branches_and_loops_are_looked_into() -> None:
    body = h.make_graph(
        [node("Div", ["a", "a"], ["t"])], "then", [], [onnx.ValueInfoProto(name="t")]
    )
    other = h.make_graph(
        [node("Identity", ["a"], ["e"])], "else", [], [onnx.ValueInfoProto(name="e")]
    )
    chosen = node("If", ["c"], ["y"], then_branch=body, else_branch=other)
    asked = model([chosen], [INTS, port("c", T.BOOL, ())])
    assert traits(asked).forms == {CHOSEN_BRANCH, INTEGER_DIVISION}
    settled = model([chosen], [INTS], {"c": np.array(True)})
    assert traits(settled).forms == {INTEGER_DIVISION}


def test_local_functions_are_looked_into() -> None:
    inner = h.make_function(
        "own",
        "halve",
        ["p", "q"],
        ["r"],
        [node("Div", ["p", "q"], ["r"])],
        [h.make_opsetid("", 18)],
    )
    called = node("halve", ["a", "b"], ["y"], domain="own")
    graph = h.make_graph([called], "g", [INTS, port("b")], [port("y")])
    built = h.make_model(
        graph,
        functions=[inner],
        opset_imports=[h.make_opsetid("", 18), h.make_opsetid("own", 1)],
        ir_version=9,
    )
    assert traits(built).forms == {INTEGER_DIVISION}


@pytest.mark.parametrize("operator", ["RandomNormalLike", "RandomUniformLike", "Bernoulli"])
def test_random_numbers_are_found(operator: str) -> None:
    assert traits(model([node(operator, ["x"], ["y"])], [FLOATS])).random == (operator,)


def test_a_dropout_draws_only_in_training() -> None:
    weights = {"ratio": np.float32(0.5), "train": np.array(True), "infer": np.array(False)}
    for mode, expected in (("train", ("Dropout",)), ("infer", ())):
        built = model([node("Dropout", ["x", "ratio", mode], ["y"])], [FLOATS], weights)
        assert traits(built).random == expected


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_zoo_holds_no_bad_form_and_says_where_it_is_half(family: str, tmp_path: Path) -> None:
    for precision, halves in ((None, False), (FLOAT16, True)):
        folder = tmp_path / str(halves)
        folder.mkdir()
        options = {"precision": precision} if precision else {}
        for part in FAMILIES[family].build(folder, seed=3, **options):
            found = traits(load(part.path))
            assert (found.forms, found.random) == (frozenset(), ())
            assert found.halves or not halves or part.role == "similarity"
