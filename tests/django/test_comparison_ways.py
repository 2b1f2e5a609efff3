"""Models of several files, and models that are cut, compared: one browser computes every shard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsers.core.failures import Category
from browsers.state.live import LiveBackend
from inference.catalog import components
from inference.comparisons import asking, junit, page, report
from inference.core.comparisons.cells import CellState
from inference.errors import InvalidRequest
from inference.management.commands.compare import line_of
from inference.models import Comparison, OnnxModel, Run
from inference.store import tensors
from tests.support.batches import chain_model
from tests.support.comparing import advance, asked, cell, fail, finish, two_browsers
from tests.support.ensembles import diamond, in_order, question, two_tables
from tests.support.ledger import publish


@pytest.fixture
def folder(database: None, valkey: Any, tmp_path: Path) -> Iterator[Path]:
    with two_browsers():
        yield tmp_path


def clip(folder: Path) -> OnnxModel:
    manifest = diamond(folder)
    return components.add_components(manifest.read_bytes(), folder, name="clip")


def test_a_model_of_several_files_is_computed_by_one_browser_and_judged_as_a_whole(
    folder: Path,
) -> None:
    model = clip(folder)
    comparison = asking.create(asked(model, runs=2))
    order = finish(comparison, a={"compute_ms": 5.0}, b={"compute_ms": 5.0, "off": 0.5})
    assert sorted(order) == ["a"] * 3 + ["b"] * 3
    run = Run.objects.get(pk=cell(comparison, "a").run_ids[0])
    assert run.pins == {str(index): "a/wasm" for index in range(3)}
    one = cell(comparison, "a")
    assert (one.state, one.strategy, one.largest_difference) == ("measured", "component", 0.0)
    assert (one.load_ms, one.first_ms, one.samples) == (120.0, 15.0, [15.0, 15.0])
    assert one.nodes == {"CPUExecutionProvider": 12}
    assert cell(comparison, "b").state == CellState.WRONG
    told = report.document(comparison)
    assert told["cells"][0]["shards"] == [
        {"name": name, "nodes": {"CPUExecutionProvider": 4}, "median_ms": 5.0}
        for name in ("text", "image", "fusion")
    ]
    assert told["cells"][0]["same_bits"] == ["native onnxruntime"]
    assert "; text 5 ms, image 5 ms, fusion 5 ms" in line_of(told["cells"][0])
    assert "fusion: 5 ms" in page.standalone(told)


def test_the_reference_of_several_files_is_onnxruntimes_one_after_another(folder: Path) -> None:
    model = clip(folder)
    inputs = [tensors.encode_array(name, array) for name, array in question(3).items()]
    comparison = asking.create(asked(model, inputs=inputs, browsers=("a",), runs=1))
    finish(comparison)
    assert cell(comparison, "a").largest_difference == 0.0
    run = Run.objects.get(pk=cell(comparison, "a").run_ids[0])
    assert set(run.outputs) == {"score"}
    (expected,) = in_order(folder / "clip.json", question(3)).values()
    assert comparison.reference["outputs"][0]["shape"] == list(expected.shape)


def test_inputs_are_made_up_for_every_file_and_are_not_alike(folder: Path) -> None:
    comparison = asking.create(asked(clip(folder), rows=3))
    assert [one["shape"] for one in comparison.inputs] == [[3, 64], [3, 64]]
    one, other = asking.storage.read(comparison.pk).inputs
    assert one.data != other.data


def tables(folder: Path) -> OnnxModel:
    manifest = two_tables(folder, rows=(50, 3))
    return components.add_components(manifest.read_bytes(), folder, name="tables")


def test_made_up_indices_stay_below_the_shortest_table_of_any_file(folder: Path) -> None:
    comparison = asking.create(asked(tables(folder), browsers=("a",), rows=64))
    (words,) = asking.storage.read(comparison.pk).inputs
    assert set(tensors.decode_array(words).tolist()) == {0, 1, 2}


def test_values_that_a_backend_gets_wrong_in_one_component_are_told_of_it(folder: Path) -> None:
    publish(
        "a", kind="kind-a", backends=tuple(LiveBackend(b, None, 1.0) for b in ("wasm", "webgpu"))
    )
    words = [tensors.encode_array("words", np.array([-1, 2], np.int64))]
    model = tables(folder)
    comparison = asking.create(
        asked(model, browsers=("a",), backends=("wasm", "webgpu"), inputs=words)
    )
    assert cell(comparison, "a").state == CellState.WAITING
    one = cell(comparison, "a", "webgpu")
    assert one.state == CellState.UNTRIED
    assert one.reason.startswith("webgpu is not used for it: table0: input 'ids' holds indices")


def test_a_component_that_fails_is_named(folder: Path) -> None:
    comparison = asking.create(asked(clip(folder), browsers=("a",)))
    advance(comparison)
    fail(
        Category.UNSUPPORTED_OPERATION,
        "Could not find an implementation for MatMul(9) node with name 'm'",
    )
    assert advance(comparison) is None
    (told,) = report.document(comparison)["cells"]
    assert told["reason"].startswith("text: Could not find")
    assert told["operator"] == "MatMul (node 'm')"


def test_strategies_are_columns_of_their_own(folder: Path) -> None:
    model = chain_model(folder, "cut")
    ways = ("none", "layer:2", "data:2")
    comparison = asking.create(asked(model, browsers=("a",), strategies=ways, runs=2))
    assert [one.strategy for one in comparison.cells.all()] == list(ways)
    finish(comparison)
    told = report.document(comparison)
    assert [one["name"] for one in told["cells"]] == ["a wasm", "a wasm layer:2", "a wasm data:2"]
    assert [one["samples_ms"] for one in told["cells"]] == [[5.0] * 2, [10.0] * 2, [10.0] * 2]
    assert [one["state"] for one in told["cells"]] == ["measured"] * 3
    assert "wasm in a, a layer:2, a data:2: the same bits." in told["said"]
    shards = [[shard["name"] for shard in one["shards"]] for one in told["cells"]]
    assert shards == [["shard 0"], ["shard 0", "shard 1"], ["shard 0", "shard 1"]]
    assert told["asked"]["strategies"] == list(ways)
    assert b"a wasm layer:2 (1.0)" in junit.render(told)
    cut = Run.objects.get(pk=comparison.cells.get(strategy="layer:2").run_ids[0])
    assert cut.pins == {"0": "a/wasm", "1": "a/wasm"}
    assert cut.plan.way == "layer×2"


def test_a_strategy_is_held_against_its_own_past(folder: Path) -> None:
    model = chain_model(folder, "cut")
    finish(asking.create(asked(model, browsers=("a",), strategies=("none",), runs=1)))
    comparison = asking.create(asked(model, browsers=("a",), strategies=("layer:2",), runs=1))
    finish(comparison, a={"off": 0.5})
    told = report.document(comparison)
    assert (told["cells"][0]["state"], told["cells"][0]["before"]) == ("wrong", None)
    assert (told["worse"], told["cells"][0]["earlier"]) == ([], [])


def test_a_batch_that_cannot_be_split_so_often_is_untried_with_the_reason(folder: Path) -> None:
    model = chain_model(folder, "cut")
    comparison = asking.create(asked(model, browsers=("a",), strategies=("data:4",), rows=2))
    assert advance(comparison) is None
    (one,) = comparison.cells.all()
    assert (one.state, one.reason) == (
        "untried",
        "a batch of 2 cannot be split into 4 parts; send more rows or ask for fewer",
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"strategies": ("layer:0",)}, "expected STRATEGY or STRATEGY:SHARDS, such as layer:2"),
        ({"strategies": ("auto",)}, "strategies: expected of none, layer, .*, got 'auto'"),
        ({"strategies": ("decoder:2",)}, "got 'decoder'"),
        ({"strategies": tuple(f"layer:{n}" for n in range(1, 12))}, "expected at most 10, got 11"),
        ({"strategies": ("layer:99",)}, "99 layer shards were asked for"),
        ({"strategies": ("none:2",)}, "none takes no number of shards"),
        ({"strategies": ("component",)}, "is one file, not made of components"),
    ],
)
def test_a_way_that_a_model_cannot_go_is_refused(
    folder: Path, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        asking.create(asked(chain_model(folder, "cut"), **given))
    assert not Comparison.objects.exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"strategies": ("layer:2",)}, "made of 3 components"),
        ({"known_answer": True}, "has no known answer: it is of several files"),
    ],
)
def test_what_several_files_do_not_have_is_refused(
    folder: Path, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        asking.create(asked(clip(folder), **given))
