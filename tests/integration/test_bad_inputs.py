"""Inputs that the model itself refuses, sent to real browsers: the caller's; no browser is blamed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh
from tritonclient.http import InferenceServerClient, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.support import small_models
from tests.support.doors import send, triton_input, upload
from tests.support.stack import RunningStack

vi, nd = h.make_tensor_value_info, h.make_node
CASES: dict[str, tuple[Any, ...]] = {
    "topk": (
        [nd("TopK", ["x", "k"], ["y", "i"])],
        [vi("x", T.FLOAT, ["n"]), vi("k", T.INT64, [1])],
        [vi("y", T.FLOAT, ["m"]), vi("i", T.INT64, ["m"])],
        {},
        {"x": np.ones(3, np.float32), "k": np.array([9])},
    ),
    "conv": (
        [nd("Conv", ["x", "w"], ["y"])],
        [vi("x", T.FLOAT, ["n", "c", "h", "v"])],
        [vi("y", T.FLOAT, ["n", 3, "a", "b"])],
        {"w": np.ones((3, 2, 3, 3), np.float32)},
        {"x": np.ones((1, 5, 6, 6), np.float32)},
    ),
    "gather": (
        [nd("Gather", ["w", "x"], ["y"])],
        [vi("x", T.INT64, ["n"])],
        [vi("y", T.FLOAT, ["n", 2])],
        {"w": np.ones((3, 2), np.float32)},
        {"x": np.array([7])},
    ),
    "overflow": (
        [nd("Div", ["x", "d"], ["y"])],
        [vi("x", T.INT32, ["n"]), vi("d", T.INT32, ["n"])],
        [vi("y", T.INT32, ["n"])],
        {},
        {"x": np.array([-(2**31)], np.int32), "d": np.array([-1], np.int32)},
    ),
    "overflow by what is computed": (
        [nd("Neg", ["d"], ["e"]), nd("Div", ["x", "e"], ["y"])],
        [vi("x", T.INT32, ["n"]), vi("d", T.INT32, ["n"])],
        [vi("y", T.INT32, ["n"])],
        {},
        {"x": np.array([-(2**31)], np.int32), "d": np.array([1], np.int32)},
    ),
}


EXPAND: tuple[Any, ...] = (
    [nd("Expand", ["x", "s"], ["y"])],
    [vi("x", T.FLOAT, ["n"]), vi("s", T.INT64, [1])],
    [vi("y", T.FLOAT, ["m"])],
)


def breakers(stack: RunningStack) -> dict[str, tuple[str, int]]:
    rows = stack.browser_rows()
    return {row["id"]: (row["breaker"]["state"], row["breaker"]["failures"]) for row in rows}


@pytest.mark.parametrize("name", CASES)
def test_what_the_model_refuses_is_the_callers(
    stack: RunningStack, tmp_path: Path, name: str
) -> None:
    nodes, ins, outs, weights, inputs = CASES[name]
    graph = h.make_graph(nodes, "g", ins, outs, [nh.from_array(a, n) for n, a in weights.items()])
    made = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, tmp_path / "m.onnx")
    name = name.replace(" ", "-")
    added = upload(stack, tmp_path / "m.onnx", f"refuses-{name}")
    assert added.status == 201, added.body
    before = breakers(stack)
    client = InferenceServerClient(f"127.0.0.1:{stack.port}", network_timeout=300)
    given = [triton_input(port, array, binary=True) for port, array in inputs.items()]
    for _ in range(3):
        with pytest.raises(InferenceServerException, match="cannot compute these inputs") as got:
            client.infer(f"refuses-{name}", given, parameters={"platform": "wasm"})
        assert got.value.status() == "400"
    assert breakers(stack) == before
    runs = stack.get(f"/api/runs/?model=refuses-{name}")["results"]
    assert bool(runs) == (name != "overflow"), "that is refused before any browser sees it"
    for run in runs:
        shards = stack.get(f"/api/runs/{run['id']}/")["metrics"]["shards"]
        assert [shard["attempts"] for shard in shards] == [1]
    assert send(stack, "DELETE", f"/api/models/refuses-{name}/").status in (200, 204)


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("split", 422, "onnxruntime itself takes these inputs, and no browser can compute them"),
        ("expand", 400, "the model cannot compute these inputs, as .* both say: "),
    ],
)
def test_what_no_browser_can_compute_ends_with_the_second_and_blames_none(
    stack: RunningStack, tmp_path: Path, name: str, status: int, said: str
) -> None:
    """What native onnxruntime takes (of 1 row, two), and what is more memory than it may have."""
    x, y = vi("x", T.FLOAT, ["n"]), vi("y", T.FLOAT, ["p"])
    nodes, ins, outs, inputs = {
        "split": (
            [nd("Split", ["x"], ["y", "z"], num_outputs=2)],
            [x],
            [y, vi("z", T.FLOAT, ["q"])],
            {},
        ),
        "expand": (*EXPAND, {"s": np.array([2**33])}),
    }[name]
    made = h.make_model(
        h.make_graph(nodes, "g", ins, outs), opset_imports=[h.make_opsetid("", 18)], ir_version=8
    )
    onnx.save(made, tmp_path / "m.onnx")
    assert upload(stack, tmp_path / "m.onnx", f"beyond-{name}").status == 201
    before = breakers(stack)
    client = InferenceServerClient(f"127.0.0.1:{stack.port}", network_timeout=300)
    given = {"x": np.ones(1, np.float32), **inputs}
    sent = [triton_input(port, array, binary=True) for port, array in given.items()]
    for _ in range(4):
        with pytest.raises(InferenceServerException, match=said) as got:
            client.infer(f"beyond-{name}", sent)
        assert got.value.status() == str(status)
    assert breakers(stack) == before
    assert send(stack, "DELETE", f"/api/models/beyond-{name}/").status in (200, 204)


def test_outputs_that_nobody_could_keep_are_refused_at_once_and_large_ones_are_no_json(
    stack: RunningStack, tmp_path: Path
) -> None:
    nodes, ins, outs = EXPAND
    graph = h.make_graph(nodes, "g", ins, outs)
    made = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=8)
    onnx.save(made, tmp_path / "m.onnx")
    assert upload(stack, tmp_path / "m.onnx", "beyond-store").status == 201
    before = breakers(stack)
    client = InferenceServerClient(f"127.0.0.1:{stack.port}", network_timeout=300)

    def asked(count: int, *, binary: bool) -> Any:
        given = {"x": np.ones(1, np.float32), "s": np.array([count])}
        sent = [triton_input(port, array, binary=True) for port, array in given.items()]
        wish = InferRequestedOutput("y", binary_data=binary)
        return client.infer("beyond-store", sent, outputs=[wish])

    with pytest.raises(InferenceServerException, match="has 536870916 bytes; at most 5") as got:
        asked(2**27 + 1, binary=True)
    assert got.value.status() == "422"
    assert breakers(stack) == before
    (run,) = stack.get("/api/runs/?model=beyond-store")["results"]
    (shard,) = stack.get(f"/api/runs/{run['id']}/")["metrics"]["shards"]
    assert (run["error_category"], shard["attempts"]) == ("too_large", 1)
    with pytest.raises(InferenceServerException, match=r"17,000,000 values, .* as JSON") as got:
        asked(17_000_000, binary=False)
    assert got.value.status() == "422"
    assert np.array_equal(asked(17_000_000, binary=True).as_numpy("y"), np.ones(17_000_000))
    assert send(stack, "DELETE", "/api/models/beyond-store/").status in (200, 204)


def test_a_file_that_one_browser_alone_takes_for_no_model_is_computed_by_another(
    stack: RunningStack, tmp_path: Path
) -> None:
    """Registered, its sizes are put right; it comes here as one does that nobody could be asked about."""
    raw, x = small_models.declared(rows=1), np.arange(12, dtype=np.float32).reshape(3, 4)
    (tmp_path / "m.onnx").write_bytes(small_models.declared(rows=3))
    assert upload(stack, tmp_path / "m.onnx", "refused-file").status == 201
    name = hashlib.sha256(raw).hexdigest()
    (stack.home / "files" / name).write_bytes(raw)
    planned = (
        "from inference.catalog.plans import ensure_plan; from inference.models import OnnxModel\n"
        "plan = ensure_plan(OnnxModel.objects.get(name='refused-file'), 'none', 1)\n"
        f"assert plan.shards.update(sha256='{name}')"
    )
    stack.manage("shell", "-c", planned)
    before = breakers(stack)
    run = stack.wait_run(stack.submit("refused-file", {"x": x}, browsers=["webkitgtk"]))
    assert (run["state"], run["error_category"]) == ("failed", "no_browser")
    assert "webkitgtk said: " in run["error"]
    assert "Inferred=3 Declared=1" in run["error"]
    run = stack.wait_run(stack.submit("refused-file", {"x": x}, browsers=["webkitgtk", "firefox"]))
    assert run["state"] == "succeeded", run["error"]
    assert run["metrics"]["shards"][0]["browser"] == "firefox"
    assert np.array_equal(stack.outputs(run["id"])["y"], x)
    assert breakers(stack) == before
