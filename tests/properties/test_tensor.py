"""Matrices split over browsers: joined parts equal the whole and hold no more than their share."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from inference.graph.indexed import GraphIndex
from inference.graph.model import load, tensor_bytes
from inference.graph.runtime import session
from inference.graph.splitting.divide import NothingToSplit, TooManyParts, divide
from inference.graph.splitting.regions import find_regions
from inference.graph.splitting.tensor import plan_parts, plan_tensor
from inference.graph.splitting.write import write_steps
from inference.graph.steps import Role, Step, StepKind
from inference.zoo import small
from tests.support.random_graphs import random_graph, scrambled
from tests.support.shards import assert_steps_equal_whole
from tests.support.transformers import KINDS, Shape, inputs, transformer

HEADS = dict.fromkeys(KINDS, 4) | dict.fromkeys(
    # Two groups of heads share keys, or two blocks of quantised weights are a row.
    ("llama", "int4", "int8", "fused", "fused-int4"), 2,
)  # fmt: skip
POSSIBLE = [(kind, parts) for kind in KINDS for parts in (2, 3, 4) if parts <= HEADS[kind]]


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


@pytest.mark.parametrize(("kind", "parts"), POSSIBLE)
def test_parts_joined_equal_the_whole(kind: str, parts: int, tmp_path: Path) -> None:
    shape = KINDS[kind]
    path = saved(transformer(shape, seed=2), tmp_path)
    plan = plan_tensor(path, parts)
    written = assert_steps_equal_whole(
        path, plan, inputs(shape, seed=3), tmp_path / "f", seed=parts
    )
    for one in written:
        assert (one.file is None) == (one.step.kind is StepKind.JOIN) == (one.step.join is not None)
        if one.file is not None:
            graph = onnx.load(one.file.path).graph
            assert sum(map(tensor_bytes, graph.initializer)) == one.step.weight_bytes


@pytest.mark.parametrize(("kind", "parts"), POSSIBLE)
def test_each_part_holds_its_share_of_the_weights(kind: str, parts: int) -> None:
    model = transformer(KINDS[kind])
    whole = sum(map(tensor_bytes, model.graph.initializer))
    plan = plan_parts(model, parts)
    held = [sum(step.weight_bytes for step in plan if step.part == part) for part in range(parts)]
    unsplit = sum(step.weight_bytes for step in plan if step.part is None)
    assert unsplit < 0.05 * whole
    # Tables of angles, and a table that is both embedding and head, are in every part.
    shared = 0.12 * whole
    fair = whole / parts
    assert max(held) < (fair if parts != 3 else 1.2 * fair) + shared
    constants = 64 * len(plan)  # shapes and axes that the parts need
    assert (
        sum(held) + unsplit - sum(step.copied_bytes for step in plan) <= whole + shared + constants
    )


@pytest.mark.parametrize(("kind", "parts"), POSSIBLE)
def test_slices_make_up_each_weight_and_nodes_are_there_once_or_once_for_each_part(
    kind: str, parts: int
) -> None:
    source = GraphIndex(transformer(KINDS[kind]))
    divided = divide(source, parts)
    pieces = [i for piece in divided.pieces for i in piece.nodes]
    assert sorted(pieces) == sorted(divided.graph.live - divided.graph.fixed)
    assert len(set(pieces)) == len(pieces)

    stretches: dict[tuple[str, int, int, int], set[tuple[int, int]]] = defaultdict(set)
    for cut in divided.slices.values():
        key = (cut.source, cut.axis, cut.outer, cut.length)
        stretches[key].add((cut.start, cut.stop))
    for (_, _, outer, length), found in stretches.items():
        ends = sorted(found)
        assert [a for a, _ in ends] == [0, *(b for _, b in ends[:-1])]
        assert ends[-1][1] * outer == length

    members = {i for region in find_regions(source) for i in region.flows} - source.fixed
    kinds: dict[str, int] = defaultdict(int)
    for index in pieces:
        kinds[divided.graph.nodes[index].op_type] += 1
    for kind_of_node in {source.nodes[i].op_type for i in source.live - source.fixed}:
        if kind_of_node in ("Concat", "Sum", "Slice", "Where"):
            continue  # joins and cuts are among them
        same = [
            i for i in source.live - source.fixed if source.nodes[i].op_type == kind_of_node
        ]  # fmt: skip
        expected = sum(parts if i in members else 1 for i in same)
        assert kinds[kind_of_node] == expected, kind_of_node


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_are_found_as_heads_and_inner_columns(kind: str) -> None:
    shape = KINDS[kind]
    plan = plan_parts(transformer(shape), 2)
    groups = {role: {s.group for s in plan if s.role is role} for role in Role}
    assert len(groups[Role.HEADS]) == shape.layers * (2 if shape.cross else 1)
    assert len(groups[Role.INNER]) == shape.layers
    joins = [step for step in plan if step.join]
    summed = [step for step in joins if step.join and step.join.op == "sum"]
    assert len(summed) == len(groups[Role.HEADS]) + len(groups[Role.INNER])
    for step in summed:
        assert step.join is not None and step.join.axis is None
        assert step.join.output.shape[-1] == shape.hidden


def test_parts_of_a_group_do_not_wait_for_each_other_and_the_join_waits_for_all() -> None:
    plan = plan_parts(transformer(KINDS["bert"]), 4)
    groups: dict[str, list[Step]] = defaultdict(list)
    for step in plan:
        groups[step.group].append(step)
    for name, steps in groups.items():
        if not name:
            assert all(step.role is Role.WHOLE and step.part is None for step in steps)
            continue
        parts = [step for step in steps if step.kind is StepKind.COMPUTE]
        assert [step.part for step in parts] == [0, 1, 2, 3]
        assert len({step.depends_on for step in parts}) == 1
        for step in steps:
            if step.kind is StepKind.JOIN:
                assert set(step.depends_on) == {part.index for part in parts}
                assert not step.initialisers and not step.weight_bytes
    assert all(max(step.depends_on, default=-1) < step.index for step in plan)
    assert sum(step.cost for step in plan) == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_names_mean_nothing(kind: str, tmp_path: Path) -> None:
    plain = transformer(KINDS[kind])
    noisy = scrambled(plain, seed=6)
    shown = [
        [(step.nodes, step.role, step.group, step.part) for step in plan_parts(model, 2)]
        for model in (plain, noisy)
    ]
    assert shown[0] == shown[1]
    path = saved(noisy, tmp_path)
    assert_steps_equal_whole(path, plan_tensor(path, 2), inputs(KINDS[kind]), tmp_path / "files")


@pytest.mark.parametrize("kind", ["t5", "int4-blocks"])
def test_same_file_and_number_same_plan_and_bytes(kind: str, tmp_path: Path) -> None:
    path = saved(transformer(KINDS[kind]), tmp_path)
    once, again = plan_tensor(path, 3), plan_tensor(path, 3)
    assert once == again
    files = [
        [one.file.sha256 for one in write_steps(path, once, tmp_path / folder) if one.file]
        for folder in ("one", "two")
    ]
    assert files[0] == files[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_without_weights_is_the_plan_with_them(kind: str) -> None:
    shape = KINDS[kind]
    outline = transformer(dataclasses.replace(shape, outline=True))
    assert plan_parts(outline, 2) == plan_parts(transformer(shape), 2)


@pytest.mark.parametrize("kind", KINDS)
def test_more_parts_than_heads_name_the_maximum(kind: str) -> None:
    maximum = HEADS[kind]
    for asked in (maximum + 1, 1):
        with pytest.raises(TooManyParts, match=f"at most {maximum}:") as caught:
            plan_parts(transformer(KINDS[kind]), asked)
        assert caught.value.maximum == maximum


@pytest.mark.parametrize("fused", [False, True])
def test_queries_that_share_one_head_of_keys(fused: bool, tmp_path: Path) -> None:
    """In plain operators the queries' heads are split; a fused operator needs a head of keys for each."""
    shape = Shape(kv_heads=1, rms=True, gated=True, bias=False, fused=fused)
    path = saved(transformer(shape), tmp_path)
    plan = plan_tensor(path, 3)
    assert bool([step for step in plan if step.role is Role.HEADS]) != fused
    assert [step for step in plan if step.role is Role.INNER]
    assert_steps_equal_whole(path, plan, inputs(shape), tmp_path / "files")


def test_a_graph_without_matrices_is_refused(tmp_path: Path) -> None:
    from inference.zoo import micro

    path = micro.add_one(tmp_path / "model.onnx")
    with pytest.raises(NothingToSplit, match="looked for large MatMul"):
        plan_tensor(path, 2)


def test_a_chain_of_products_is_split_in_pairs(tmp_path: Path) -> None:
    from inference.zoo import micro

    path = micro.chain(tmp_path / "model.onnx", layers=5)
    plan = plan_tensor(path, 4)
    groups = [step.role for step in plan if step.part == 0]
    assert groups == [Role.INNER, Role.INNER, Role.COLUMNS]
    x = {"x": np.random.default_rng(1).standard_normal((3, 64)).astype(np.float32)}
    assert_steps_equal_whole(path, plan, x, tmp_path / "files")


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("parts", [2, 3])
def test_quantised_weights_with_bias_and_an_odd_number_of_blocks(
    parts: int, flat: bool, tmp_path: Path
) -> None:
    """Two zero points share a byte; older files keep scales and zero points of all columns in one row."""
    random = np.random.default_rng(7)
    make, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    weights: dict[str, np.ndarray] = {}
    nodes = []
    for at, (source, target, rows, columns) in enumerate([("x", "a", 64, 48), ("t", "y", 48, 64)]):
        blocks = rows // 16
        own: dict[str, np.ndarray] = {
            "packed": random.integers(0, 256, (columns, blocks, 8), dtype=np.uint8),
            "scales": (random.random((columns, blocks)) / 100).astype(np.float32),
            "zeros": random.integers(0, 256, (columns, -(-blocks // 2)), dtype=np.uint8),
            "bias": random.random(columns).astype(np.float32),
        }
        if flat:
            own |= {"scales": own["scales"].ravel(), "zeros": own["zeros"].ravel()}
        weights |= {f"{name}{at}": array for name, array in own.items()}
        names = [
            f"{name}{at}" if name else "" for name in ("packed", "scales", "zeros", "", "bias")
        ]
        sizes: dict[str, Any] = {"K": rows, "N": columns, "bits": 4, "block_size": 16}
        nodes.append(
            make("MatMulNBits", [source, *names], [target], domain="com.microsoft", **sizes)
        )
    nodes.insert(1, make("Tanh", ["a"], ["t"]))
    graph = onnx.helper.make_graph(
        nodes, "g", [info("x", onnx.TensorProto.FLOAT, ["n", 64])],
        [info("y", onnx.TensorProto.FLOAT, ["n", 64])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    path = saved(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path)
    plan = plan_tensor(path, parts)
    assert [step.role for step in plan] == [Role.INNER] * parts + [Role.JOIN]
    x = {"x": random.standard_normal((3, 64)).astype(np.float32)}
    assert_steps_equal_whole(path, plan, x, tmp_path / "files")


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_that_are_dequantised_in_the_graph(axis: int, tmp_path: Path) -> None:
    """A scale for each row or column of an int8 matrix, one of them transposed: all of it is sliced."""
    random = np.random.default_rng(3)
    make, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    weights: dict[str, np.ndarray] = {
        "w1": random.integers(-99, 99, (16, 32)).astype(np.int8),
        "s1": random.random((16, 32)[axis]).astype(np.float32) / 99,
        "z1": np.zeros((16, 32)[axis], np.int8),
        "w2": random.integers(-99, 99, (16, 32)).astype(np.int8),
        "s2": random.random((16, 32)[axis]).astype(np.float32) / 99,
    }
    nodes = [
        make("DequantizeLinear", ["w1", "s1", "z1"], ["d1"], axis=axis),
        make("DequantizeLinear", ["w2", "s2"], ["d2"], axis=axis),
        make("Transpose", ["d2"], ["t2"], perm=[1, 0]),
        make("MatMul", ["x", "d1"], ["a"]),
        make("Tanh", ["a"], ["b"]),
        make("MatMul", ["b", "t2"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes, "g", [info("x", onnx.TensorProto.FLOAT, ["n", 16])],
        [info("y", onnx.TensorProto.FLOAT, ["n", 16])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9
    )
    path = saved(model, tmp_path)
    plan = plan_tensor(path, 4)
    assert {step.role for step in plan} == {Role.INNER, Role.JOIN}
    parts = [step for step in plan if step.part is not None]
    assert max(step.weight_bytes for step in parts) < (2 * 16 * 32 + 2 * 4 * 32) / 4 + 100
    x = {"x": random.standard_normal((3, 16)).astype(np.float32)}
    assert_steps_equal_whole(path, plan, x, tmp_path / "files")


@pytest.mark.parametrize("build", [small.mlp, small.many_ports, small.odd_tensors])
def test_graphs_of_other_kinds(build: object, tmp_path: Path) -> None:
    from inference.graph.reference import example_inputs
    from inference.graph.summary import read_model

    assert callable(build)
    path = build(tmp_path / "model.onnx")
    given = example_inputs(load(path), read_model(path).inputs, seed=2)
    try:
        plan = plan_tensor(path, 2)
    except NothingToSplit:
        assert not find_regions(GraphIndex(load(path)))
    else:
        assert_steps_equal_whole(path, plan, given, tmp_path / "files")


@pytest.mark.parametrize("seed", range(16))
def test_random_graphs(seed: int, tmp_path: Path) -> None:
    """With skips, shared weights, control flow, several outputs: right, or refused for having nothing."""
    graph = random_graph(seed)
    path = saved(graph.model, tmp_path)
    session(str(path))
    try:
        plan = plan_tensor(path, 2 + seed % 2)
    except NothingToSplit:
        assert not find_regions(GraphIndex(load(path)))
    else:
        assert_steps_equal_whole(path, plan, graph.inputs, tmp_path / "files", seed=seed)


def test_random_graphs_do_get_split() -> None:
    found = [bool(find_regions(GraphIndex(random_graph(seed).model))) for seed in range(16)]
    assert sum(found) >= 8
