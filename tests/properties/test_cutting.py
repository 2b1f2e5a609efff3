"""Cutting random graphs: chained shards equal the whole, nothing is lost, nothing is doubled unlisted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from inference.graph.cutting.cut import Cutter, plan_layers
from inference.graph.model import load
from inference.graph.steps import TooManyShards
from tests.support.random_graphs import random_graph, scrambled
from tests.support.shards import assert_shards_equal_whole, write_shards

SEEDS = range(24)
HEADER_BYTES = 16_384  # per shard: ports and nodes, beside weights


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


@pytest.mark.parametrize("seed", SEEDS)
def test_every_number_of_shards_equals_the_whole(seed: int, tmp_path: Path) -> None:
    graph = random_graph(seed)
    path = saved(graph.model, tmp_path)
    assert_shards_equal_whole(path, graph.inputs, tmp_path / "files")


@pytest.mark.parametrize("seed", SEEDS)
def test_names_mean_nothing(seed: int, tmp_path: Path) -> None:
    graph = random_graph(seed)
    noisy = scrambled(graph.model, seed)
    plain, odd = Cutter(load(saved(graph.model, tmp_path))), Cutter(noisy)
    assert plain.max_shards == odd.max_shards
    count = min(3, plain.max_shards)
    assert [s.nodes for s in plain.plan(count)] == [s.nodes for s in odd.plan(count)]
    path = saved(noisy, tmp_path)
    assert_shards_equal_whole(path, graph.inputs, tmp_path / "files", shards=[count])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_plan_holds_every_needed_node_once_and_lists_its_copies(
    seed: int, tmp_path: Path
) -> None:
    path = saved(random_graph(seed).model, tmp_path)
    cutter = Cutter(load(path))
    for count in range(1, cutter.max_shards + 1):
        plan = cutter.plan(count)
        moving = [i for shard in plan for i in shard.nodes if i not in cutter.graph.fixed]
        assert sorted(moving) == sorted(cutter.graph.live - cutter.graph.fixed)
        assert len(moving) == len(set(moving))
        assert all(shard.outputs and shard.nodes for shard in plan)
        assert sum(shard.cost for shard in plan) == pytest.approx(1)
        assert all(max(shard.depends_on, default=-1) < shard.index for shard in plan)
        files = write_shards(path, plan, tmp_path / "files")
        copies = sum(file.copied_bytes for file in files)
        allowed = path.stat().st_size + copies + HEADER_BYTES * count
        assert sum(file.bytes for file in files) <= allowed


@pytest.mark.parametrize("seed", range(0, 24, 4))
def test_same_file_and_number_same_plan_and_bytes(seed: int, tmp_path: Path) -> None:
    path = saved(random_graph(seed).model, tmp_path)
    count = min(3, Cutter(load(path)).max_shards)
    once, again = plan_layers(path, count), plan_layers(path, count)
    assert once == again
    hashes = [
        [file.sha256 for file in write_shards(path, once, tmp_path / folder)]
        for folder in ("one", "two")
    ]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("seed", range(0, 24, 4))
def test_one_shard_too_many_names_the_maximum(seed: int, tmp_path: Path) -> None:
    path = saved(random_graph(seed).model, tmp_path)
    maximum = Cutter(load(path)).max_shards
    with pytest.raises(TooManyShards, match=f"at most {maximum}") as caught:
        plan_layers(path, maximum + 1)
    assert caught.value.maximum == maximum
    with pytest.raises(TooManyShards):
        plan_layers(path, 0)


@pytest.mark.parametrize("seed", range(0, 24, 4))
def test_the_order_of_nodes_in_the_file_does_not_matter(seed: int, tmp_path: Path) -> None:
    """Also a file whose nodes are out of order, which onnxruntime takes, is cut rightly."""
    graph = random_graph(seed)
    shuffled = onnx.ModelProto()
    shuffled.CopyFrom(graph.model)
    order = np.random.default_rng(seed).permutation(len(shuffled.graph.node))
    del shuffled.graph.node[:]
    shuffled.graph.node.extend(graph.model.graph.node[int(i)] for i in order)
    path = saved(shuffled, tmp_path)
    assert_shards_equal_whole(path, graph.inputs, tmp_path / "files", shards=[1, 2])
