"""Matrices split over browsers: joined parts equal the whole and hold no more than their share."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
import pytest

from inference.graph.divide import NothingToSplit, TooManyParts, divide
from inference.graph.indexed import GraphIndex
from inference.graph.model import load, session, tensor_bytes
from inference.graph.regions import find_regions
from inference.graph.steps import Role, Step, StepKind
from inference.graph.tensor import plan_parts, plan_tensor
from inference.graph.write import write_steps
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

    with pytest.raises(NothingToSplit, match="looked for large MatMul"):
        plan_tensor(micro.add_one(tmp_path / "model.onnx"), 2)


def test_a_chain_of_products_is_split_in_pairs(tmp_path: Path) -> None:
    from inference.zoo import micro

    path = micro.chain(tmp_path / "model.onnx", layers=5)
    plan = plan_tensor(path, 4)
    groups = [step.role for step in plan if step.part == 0]
    assert groups == [Role.INNER, Role.INNER, Role.COLUMNS]
    x = {"x": np.random.default_rng(1).standard_normal((3, 64)).astype(np.float32)}
    assert_steps_equal_whole(path, plan, x, tmp_path / "files")


@pytest.mark.parametrize("build", [small.mlp, small.many_ports, small.odd_tensors])
def test_graphs_of_other_kinds(build: object, tmp_path: Path) -> None:
    from inference.graph.model import read_model
    from inference.graph.reference import example_inputs

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
