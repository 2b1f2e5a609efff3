"""Right or refused, whatever backend a browser would prefer, where some backends are wrong."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient.http as triton
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh
from tritonclient.utils import InferenceServerException

from inference.graph.reference import equal, reference
from tests.support.doors import ask, upload
from tests.support.stack import RunningStack

F, I = T.FLOAT, T.INT32  # noqa: E741
RANDOM = np.random.default_rng(1)
PREFERS_WEBNN = "chromium-npm"


def numbers(*shape: int) -> np.ndarray:
    return (RANDOM.standard_normal(shape) / 2).astype(np.float32)


def register(
    stack: RunningStack,
    folder: Path,
    name: str,
    node: Any,
    inputs: Any,
    output: Any,
    **weights: Any,
) -> Path:
    graph = h.make_graph(
        [node],
        "g",
        [h.make_tensor_value_info(*port) for port in inputs],
        [h.make_tensor_value_info(*output)],
        [nh.from_array(np.asarray(array), key) for key, array in weights.items()],
    )
    path = folder / f"{name}.onnx"
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), path)
    answer = upload(stack, path, name)
    assert answer.status == 201, answer.body
    return path


def ways(stack: RunningStack, only: str = "") -> list[dict[str, str]]:
    """Each browser (or one) with each of its backends, and with its own choice."""
    found = []
    for row in stack.browser_rows():
        if only not in ("", row["id"]):
            continue
        found.append({"browsers": row["id"]})
        found += [
            {"browsers": row["id"], "platform": backend["name"]}
            for backend in row["backends"]
            if backend["probe_ok"]
        ]
    return found


def test_a_gru_that_webnn_gets_wrong_is_right_and_the_reason_is_told(
    stack: RunningStack, client: triton.InferenceServerClient, tmp_path: Path
) -> None:
    path = register(
        stack, tmp_path, "right-gru",
        h.make_node("GRU", ["x", "w", "r", "b"], ["y"], hidden_size=5, linear_before_reset=1),
        [("x", F, ["t", "n", 4])], ("y", F, ["t", 1, "n", 5]),
        w=numbers(1, 15, 4), r=numbers(1, 15, 5), b=numbers(1, 30),
    )  # fmt: skip
    inputs = {"x": numbers(6, 2, 4)}
    right = reference(path, inputs)["y"]
    before = incidents(stack)
    assert equal(ask(client, "right-gru", inputs, browsers=PREFERS_WEBNN)["y"], right)
    with pytest.raises(
        InferenceServerException, match=r"webnn (does not compute|answers) this file"
    ):
        ask(client, "right-gru", inputs, browsers=PREFERS_WEBNN, platform="webnn")
    wrong = [one for one in proofs(stack, "right-gru") if one["verdict"] == "wrong"]
    assert [(one["kind"], one["backend"]) for one in wrong] == [(PREFERS_WEBNN, "webnn")]
    assert "off by" in wrong[0]["reason"]
    assert equal(ask(client, "right-gru", inputs, browsers=PREFERS_WEBNN)["y"], right)
    with pytest.raises(InferenceServerException, match="webnn does not compute this file: wrong"):
        ask(client, "right-gru", inputs, browsers=PREFERS_WEBNN, platform="webnn")
    assert incidents(stack) == before


TIES = np.array([[3, 1, 3, 2], [0, 5, 5, 5]], np.float32)
POOLED: Any = [("x", F, [1, 2, 7, 7])], numbers(1, 2, 7, 7)
# Forms that were answered wrongly somewhere: node, inputs, output, weights, the question.
FORMS: dict[str, tuple[Any, Any, Any, dict[str, Any], Any]] = {
    "peepholes": (
        h.make_node("LSTM", ["x", "w", "r", "b", "", "", "", "p"], ["y"], hidden_size=3),
        [("x", F, [4, 2, 5])],
        ("y", F, [4, 1, 2, 3]),
        {"w": numbers(1, 12, 5), "r": numbers(1, 12, 3), "b": numbers(1, 24), "p": numbers(1, 9)},
        numbers(4, 2, 5),
    ),
    "ceil-pool": (
        h.make_node(
            "AveragePool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1],
            ceil_mode=1,
        ),
        POOLED[0], ("y", F, [1, 2, 4, 4]), {}, POOLED[1],
    ),
    "lp-pool": (
        h.make_node("LpPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], p=2),
        POOLED[0], ("y", F, [1, 2, 3, 3]), {}, POOLED[1],
    ),
    "last-of-ties": (
        h.make_node("ArgMax", ["x"], ["y"], axis=1, select_last_index=1),
        [("x", F, [2, 4])], ("y", T.INT64, [2, 1]), {}, TIES,
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_form_that_some_backend_gets_wrong_is_right_or_refused_on_each(
    stack: RunningStack, client: triton.InferenceServerClient, tmp_path: Path, form: str
) -> None:
    node, ports, output, weights, x = FORMS[form]
    path, inputs = register(stack, tmp_path, form, node, ports, output, **weights), {"x": x}
    right = reference(path, inputs)["y"]
    told = {}
    for way in ways(stack, PREFERS_WEBNN):
        try:
            assert equal(ask(client, form, inputs, **way)["y"], right), way
            told[way.get("platform")] = "right"
        except InferenceServerException as refusal:
            told[way.get("platform")] = str(refusal)
    assert told[None] == told["wasm"] == "right"
    assert equal(ask(client, form, inputs, browsers=PREFERS_WEBNN)["y"], right)


def incidents(stack: RunningStack) -> list[str]:
    """When the browser was repaired; other tests on this pool may have had it hurt."""
    return [one["at"] for one in stack.get(f"/api/browsers/{PREFERS_WEBNN}/")["incidents"]]


def proofs(stack: RunningStack, model: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.get(f"/api/models/{model}/")["proofs"]
    return found


def test_what_is_right_is_given_to_the_faster_backend_once_it_was_tried(
    stack: RunningStack, client: triton.InferenceServerClient, tmp_path: Path
) -> None:
    path = register(
        stack, tmp_path, "right-dense", h.make_node("MatMul", ["x", "w"], ["y"]),
        [("x", F, ["n", 64])], ("y", F, ["n", 64]), w=numbers(64, 64),
    )  # fmt: skip
    inputs = {"x": numbers(3, 64)}
    right = reference(path, inputs)["y"]
    faster = stack.browser(PREFERS_WEBNN)["backends"][0]["name"]
    if faster == "wasm":  # as measured when it was started
        faster = ""

    def computed_by() -> str:
        run = stack.wait_run(stack.submit("right-dense", inputs, browsers=[PREFERS_WEBNN]))
        (shard,) = run["metrics"]["shards"]
        assert shard["unproved"] is None
        assert equal(stack.outputs(run["id"])["y"], right)
        return str(shard["backend"])

    assert computed_by() == "wasm"
    if faster:
        until = time.monotonic() + 60
        while faster not in {
            p["backend"] for p in proofs(stack, "right-dense") if p["verdict"] == "right"
        }:
            assert time.monotonic() < until, stack.logs()
            time.sleep(0.2)
        assert computed_by() == faster


def test_an_integer_divided_by_zero_is_an_error_everywhere(
    stack: RunningStack, client: triton.InferenceServerClient, tmp_path: Path
) -> None:
    register(
        stack, tmp_path, "right-division", h.make_node("Div", ["a", "b"], ["y"]),
        [("a", I, ["n"]), ("b", I, ["n"])], ("y", I, ["n"]),
    )  # fmt: skip
    whole, zero = np.array([10, 20], np.int32), np.array([3, 0], np.int32)
    for way in ways(stack):
        if way.get("platform", "wasm") == "wasm":
            got = ask(client, "right-division", {"a": whole, "b": whole}, **way)["y"]
            assert got.tolist() == [1, 1], way
        with pytest.raises(InferenceServerException, match=r"by zero|divisor of zero"):
            ask(client, "right-division", {"a": whole, "b": zero}, max_retries=0, **way)


def test_an_index_beyond_the_table_is_refused_everywhere(
    stack: RunningStack, client: triton.InferenceServerClient, tmp_path: Path
) -> None:
    table = np.arange(20, dtype=np.float32).reshape(10, 2)
    register(
        stack, tmp_path, "right-table", h.make_node("Gather", ["w", "i"], ["y"]),
        [("i", T.INT64, ["n"])], ("y", F, ["n", 2]), w=table,
    )  # fmt: skip
    inside, beyond = np.array([0, 9]), np.array([0, 9999])
    for way in ways(stack):
        try:
            got = ask(client, "right-table", {"i": inside}, **way)["y"]
            assert np.array_equal(got, table[inside]), way
        except InferenceServerException as refusal:
            assert way.get("platform", "wasm") != "wasm", refusal  # it takes no such graph
        with pytest.raises(InferenceServerException, match=r"9999|outside of 0 to 9|refused"):
            ask(client, "right-table", {"i": beyond}, **way)


def test_nan_and_infinity_stay_what_they_are(
    stack: RunningStack, client: triton.InferenceServerClient, tmp_path: Path
) -> None:
    register(
        stack, tmp_path, "right-relu", h.make_node("Relu", ["x"], ["y"]),
        [("x", F, ["n"])], ("y", F, ["n"]),
    )  # fmt: skip
    x = np.array([np.nan, np.inf, -np.inf, 2], np.float32)
    for way in ways(stack):
        if way.get("platform", "wasm") == "wasm":
            got = ask(client, "right-relu", {"x": x}, **way)["y"]
            assert np.array_equal(got, [np.nan, np.inf, 0, 2], equal_nan=True), way
        else:
            with pytest.raises(InferenceServerException, match="NaN or infinity"):
                ask(client, "right-relu", {"x": x}, **way)


def test_an_answer_that_cannot_be_proved_says_so(
    stack: RunningStack, client: triton.InferenceServerClient, tmp_path: Path
) -> None:
    register(
        stack, tmp_path, "right-random", h.make_node("RandomNormalLike", ["x"], ["y"]),
        [("x", F, ["n"])], ("y", F, ["n"]),
    )  # fmt: skip
    port = triton.InferInput("x", [4], "FP32")
    port.set_data_from_numpy(np.ones(4, np.float32))
    facts = client.infer("right-random", [port]).get_response()["parameters"]
    assert facts["backends"] == "wasm"
    assert facts["unproved"] == (
        "shard 0: no known answer: it draws random numbers (RandomNormalLike)"
    )
