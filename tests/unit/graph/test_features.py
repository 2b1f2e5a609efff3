"""What ONNX files may hold besides plain layers: each of it cut, and shards equal to the whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from inference.graph.cutting.cut import Cutter, plan_layers
from inference.graph.model import load
from inference.graph.reference import equal, reference
from inference.graph.spec import TensorSpec
from inference.graph.steps import Step
from inference.graph.summary import read_model
from tests.support.shards import assert_shards_equal_whole, run_shards, write_shards

FLOAT, HALF, INT64, STRING = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.INT64,
    TensorProto.STRING,
)
Array = np.ndarray[Any, Any]
info = helper.make_tensor_value_info
node = helper.make_node


def square(seed: int, width: int = 4, dtype: Any = np.float32) -> Array:
    return np.random.default_rng(seed).standard_normal((width, width)).astype(dtype) / 2


def saved(
    folder: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: dict[str, Array],
    **extra: Any,
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "features",
        list(inputs),
        list(outputs),
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
        sparse_initializer=extra.get("sparse", []),
    )
    opsets = [helper.make_opsetid("", 17)]
    opsets += [helper.make_opsetid(domain, 1) for domain in extra.get("domains", [])]
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=9, functions=extra.get("functions", [])
    )
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


X = {"x": np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)}
ROWS: list[int | str] = ["n", 4]


def _by_name(shard: Step) -> dict[str, TensorSpec]:
    return {spec.name: spec for spec in shard.inputs}


def test_functions_go_with_the_shards(tmp_path: Path) -> None:
    """One function calls another; both are called on either side of the cut."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    inner = helper.make_function(
        "local", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], opsets
    )
    outer = helper.make_function(
        "local", "Dense", ["a", "w"], ["c"],
        [node("MatMul", ["a", "w"], ["m"]), node("Twice", ["m"], ["c"], domain="local")], opsets,
    )  # fmt: skip
    nodes = [
        node("Dense", ["x", "w"], ["p"], domain="local"),
        node("Dense", ["p", "v"], ["q"], domain="local"),
        node("Tanh", ["q"], ["y"]),
    ]
    path = saved(
        tmp_path, nodes, [info("x", FLOAT, ROWS)], [info("y", FLOAT, ROWS)],
        {"w": square(1), "v": square(2)}, functions=[inner, outer], domains=["local"],
    )  # fmt: skip
    assert assert_shards_equal_whole(path, X, tmp_path / "files") >= 2


def test_sparse_weights(tmp_path: Path) -> None:
    values = numpy_helper.from_array(np.array([1.5, -2.0, 3.0], np.float32), "w")
    places = numpy_helper.from_array(np.array([0, 6, 15], np.int64), "w_places")
    sparse = helper.make_sparse_tensor(values, places, [4, 4])
    nodes = [
        node("MatMul", ["x", "w"], ["p"]),
        node("MatMul", ["p", "v"], ["q"]),
        node("MatMul", ["q", "w"], ["y"]),
    ]
    path = saved(
        tmp_path, nodes, [info("x", FLOAT, ROWS)], [info("y", FLOAT, ROWS)], {"v": square(2)},
        sparse=[sparse],
    )  # fmt: skip
    assert assert_shards_equal_whole(path, X, tmp_path / "files") == 3


def test_half_floats(tmp_path: Path) -> None:
    """Rounded at the cut to the type of the tensor, which the whole may skip: equal as halves are."""
    names = ["x", "a", "b", "c", "y"]
    nodes = [node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(4)]
    weights = {f"w{i}": square(i, dtype=np.float16) for i in range(4)}
    path = saved(tmp_path, nodes, [info("x", HALF, ROWS)], [info("y", HALF, ROWS)], weights)
    inputs = {"x": X["x"].astype(np.float16)}
    whole = reference(path, inputs)["y"]
    for count in range(2, read_model(path).max_shards + 1):
        files = write_shards(path, plan_layers(path, count), tmp_path / "files")
        assert all(spec.dtype == "float16" for file in files for spec in file.inputs)
        assert equal(run_shards(files, inputs)["y"], whole)


def branch(
    condition: str, output: str, *, yes: onnx.NodeProto, no: onnx.NodeProto
) -> onnx.NodeProto:
    """An If whose bodies are one node each, on strings."""
    bodies = [
        helper.make_graph([body], name, [], [info(body.output[0], STRING, None)])
        for name, body in (("yes", yes), ("no", no))
    ]
    return node("If", [condition], [output], then_branch=bodies[0], else_branch=bodies[1])


def test_strings_scalars_and_empty_tensors_cross(tmp_path: Path) -> None:
    """What comes before the first matrix is used behind the second: it has to cross."""
    nodes = [
        node("ReduceMean", ["x"], ["mean"], keepdims=0),
        node("Slice", ["x", "zero", "zero"], ["empty"]),
        node("Greater", ["mean", "limit"], ["first"]),
        branch(
            "first", "some",
            yes=node("Identity", ["words"], ["yes1"]),
            no=node("Concat", ["words", "words"], ["no1"], axis=0),
        ),
        node("Size", ["some"], ["count"]),
        node("Cast", ["count"], ["number"], to=FLOAT),
        node("Mul", ["x", "number"], ["scaled"]),
        node("Concat", ["scaled", "empty"], ["joined"], axis=0),
        node("MatMul", ["joined", "w"], ["p"]),
        node("Tanh", ["p"], ["t"]),
        node("MatMul", ["t", "v"], ["q"]),
        node("Mul", ["q", "mean"], ["r"]),
        node("Concat", ["r", "empty"], ["y"], axis=0),
        node("ReduceMean", ["y"], ["mean2"], keepdims=0),
        node("Less", ["mean2", "limit"], ["second"]),
        branch(
            "second", "all",
            yes=node("Concat", ["some", "words"], ["yes2"], axis=0),
            no=node("Identity", ["some"], ["no2"]),
        ),
    ]  # fmt: skip
    path = saved(
        tmp_path, nodes,
        [info("x", FLOAT, ROWS), info("words", STRING, ["k"])],
        [info("y", FLOAT, ["m", 4]), info("all", STRING, ["l"])],
        {"w": square(1), "v": square(2), "zero": np.zeros(1, np.int64), "limit": np.array(0, np.float32)},
    )  # fmt: skip
    inputs = {**X, "words": np.array(["één", "", "two"], dtype=object)}
    maximum = assert_shards_equal_whole(path, inputs, tmp_path / "files")
    crossing = {n: spec for s in plan_layers(path, maximum)[1:] for n, spec in _by_name(s).items()}
    assert crossing["mean"].shape == ()
    assert crossing["some"].dtype == "string"
    assert "empty" in crossing


def test_a_branch_inside_a_loop_captures_from_two_levels_up(tmp_path: Path) -> None:
    matmul = helper.make_graph(
        [node("MatMul", ["state", "w"], ["m"]), node("Add", ["m", "early"], ["then_out"])],
        "then", [], [info("then_out", FLOAT, None)],
    )  # fmt: skip
    other = helper.make_graph(
        [node("Neg", ["state"], ["else_out"])], "else", [], [info("else_out", FLOAT, None)]
    )
    body = helper.make_graph(
        [
            node("If", ["flag"], ["next"], then_branch=matmul, else_branch=other),
            node("Identity", ["going"], ["still"]),
        ],
        "body",
        [info("turn", INT64, []), info("going", TensorProto.BOOL, []), info("state", FLOAT, None)],
        [info("still", TensorProto.BOOL, []), info("next", FLOAT, None)],
    )
    nodes = [
        node("MatMul", ["x", "v"], ["early"]),
        node("MatMul", ["early", "w"], ["middle"]),
        node("Loop", ["turns", "", "middle"], ["looped"], body=body),
        node("MatMul", ["looped", "w"], ["y"]),
    ]
    path = saved(
        tmp_path, nodes,
        [info("x", FLOAT, ROWS), info("flag", TensorProto.BOOL, [])], [info("y", FLOAT, ROWS)],
        {"w": square(1), "v": square(2), "turns": np.array(3, np.int64)},
    )  # fmt: skip
    for flag in (True, False):
        inputs = {**X, "flag": np.array(flag)}
        assert assert_shards_equal_whole(path, inputs, tmp_path / f"{flag}") >= 3


def test_operators_of_the_runtimes_own_domain(tmp_path: Path) -> None:
    """onnx knows nothing of their shapes; onnxruntime does."""
    nodes = [
        node("FusedMatMul", ["x", "w"], ["p"], domain="com.microsoft", alpha=0.5),
        node("BiasGelu", ["p", "b"], ["g"], domain="com.microsoft"),
        node("FusedMatMul", ["g", "w"], ["q"], domain="com.microsoft", transB=1),
        node("QuickGelu", ["q"], ["r"], domain="com.microsoft"),
        node("MatMul", ["r", "w"], ["y"]),
    ]
    path = saved(
        tmp_path, nodes, [info("x", FLOAT, ROWS)], [info("y", FLOAT, ROWS)],
        {"w": square(1), "b": np.ones(4, np.float32)}, domains=["com.microsoft"],
    )  # fmt: skip
    maximum = assert_shards_equal_whole(path, X, tmp_path / "files")
    assert maximum >= 3
    shapes = [spec.shape for s in plan_layers(path, maximum)[1:] for spec in s.inputs]
    assert all(len(shape) == 2 for shape in shapes)


def test_names_with_odd_characters(tmp_path: Path) -> None:
    odd = ["/a/b.0:0", "naïve ✓", "a\nb", '"quoted"', "../../etc", "%s{}"]
    names = ["x", *odd, "y"]
    nodes = [node("MatMul", [names[i], "w\t0"], [names[i + 1]]) for i in range(len(names) - 1)]
    path = saved(
        tmp_path, nodes, [info("x", FLOAT, ROWS)], [info("y", FLOAT, ROWS)], {"w\t0": square(1)}
    )
    assert assert_shards_equal_whole(path, X, tmp_path / "files") == len(names) - 1
    assert {spec.name for s in plan_layers(path, 7)[1:] for spec in s.inputs} == set(odd)


def test_a_part_that_needs_no_input_at_all(tmp_path: Path) -> None:
    """Computed from weights alone: it is neither a shard of its own nor computed from nothing."""
    nodes = [
        node("MatMul", ["w", "v"], ["c"]),
        node("Exp", ["c"], ["only_weights"]),
        node("MatMul", ["x", "only_weights"], ["p"]),
        node("MatMul", ["p", "w"], ["y"]),
    ]
    path = saved(
        tmp_path, nodes, [info("x", FLOAT, ROWS)],
        [info("y", FLOAT, ROWS), info("only_weights", FLOAT, [4, 4])],
        {"w": square(1), "v": square(2)},
    )  # fmt: skip
    assert assert_shards_equal_whole(path, X, tmp_path / "files") == 2
    assert all(shard.inputs for shard in plan_layers(path, 2))


def test_a_model_of_constants_alone(tmp_path: Path) -> None:
    nodes = [node("Exp", ["w"], ["e"]), node("MatMul", ["e", "w"], ["y"])]
    path = saved(tmp_path, nodes, [], [info("y", FLOAT, [4, 4])], {"w": square(1)})
    assert assert_shards_equal_whole(path, {}, tmp_path / "files") == 1


def test_random_numbers_are_drawn_once(tmp_path: Path) -> None:
    """A seeded draw used on both sides of a cut is one node of one shard, never copied."""
    nodes = [
        node("RandomNormal", [], ["noise"], shape=[3, 4], seed=1.0),
        node("Add", ["x", "noise"], ["noisy"]),
        node("MatMul", ["noisy", "w"], ["p"]),
        node("MatMul", ["p", "v"], ["q"]),
        node("Sub", ["q", "noise"], ["y"]),
    ]
    path = saved(
        tmp_path, nodes, [info("x", FLOAT, [3, 4])], [info("y", FLOAT, [3, 4])],
        {"w": square(1), "v": square(2)},
    )  # fmt: skip
    draws = [i for s in plan_layers(path, 2) for i in s.nodes if i == 0]
    assert draws == [0]
    files = write_shards(path, plan_layers(path, 2), tmp_path / "files")
    available = run_shards(files, X)
    expected = (X["x"] + available["noise"]) @ square(1) @ square(2) - available["noise"]
    np.testing.assert_allclose(available["y"], expected, atol=1e-5)


def test_external_weights(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["p"]), node("MatMul", ["p", "v"], ["y"])]
    weights = {"w": square(1), "v": square(2)}
    path = saved(tmp_path, nodes, [info("x", FLOAT, ROWS)], [info("y", FLOAT, ROWS)], weights)
    external = tmp_path / "external.onnx"
    onnx.save(
        onnx.load(path), external, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    assert assert_shards_equal_whole(external, X, tmp_path / "files") == 2
    plain = write_shards(path, plan_layers(path, 2), tmp_path / "plain")
    beside = write_shards(external, plan_layers(external, 2), tmp_path / "beside")
    assert [file.sha256 for file in plain] == [file.sha256 for file in beside]


def test_a_graph_of_many_nodes_is_read_and_cut_in_seconds(tmp_path: Path) -> None:
    count = 3000
    names = ["x", *(f"h{i}" for i in range(1, count)), "y"]
    nodes = []
    for i in range(count):
        nodes.append(node("MatMul", [names[i], f"w{i}"], [f"m{i}"]))
        nodes.append(node("Tanh", [f"m{i}"], [names[i + 1]]))
    weights = {f"w{i}": square(i) for i in range(count)}
    path = saved(tmp_path, nodes, [info("x", FLOAT, ROWS)], [info("y", FLOAT, ROWS)], weights)
    assert read_model(path).max_shards == count
    cutter = Cutter(load(path))
    for shards in (2, 8, 100, count):
        plan = cutter.plan(shards)
        assert sorted(i for shard in plan for i in shard.nodes) == list(range(2 * count))
    assert max(shard.cost for shard in cutter.plan(8)) < 1.05 / 8


def test_a_thousand_tensors_that_cross_are_read_and_cut_in_seconds(tmp_path: Path) -> None:
    """Every activation is needed at the very end; of each cut the summary names the first few."""
    count = 1000
    nodes = [node("MatMul", [f"m{i}" if i else "x", "w"], [f"m{i + 1}"]) for i in range(count)]
    nodes.append(node("Concat", [f"m{i + 1}" for i in range(count)], ["y"], axis=1))
    path = saved(
        tmp_path, nodes, [info("x", FLOAT, ROWS)], [info("y", FLOAT, ["n", 4 * count])],
        {"w": square(1)},
    )  # fmt: skip
    cuts = read_model(path).cuts
    assert [cut["tensor_count"] for cut in cuts] == list(range(1, count))
    assert max(len(cut["tensors"]) for cut in cuts) == 32
    assert_shards_equal_whole(path, X, tmp_path / "files", shards=[3])
