"""/api/ against the running stack, over plain HTTP: runs, models, plans, browsers, the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import tritonclient.http as triton
from onnx import TensorProto, helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tests.support import small_models
from tests.support.doors import JSON, ended, send, triton_input, upload, wait_for
from tests.support.stack import RunningStack


def test_a_run_from_start_to_outputs(stack: RunningStack) -> None:
    wanted = {"model": "minilm", "texts": ["a browser computes"], "strategy": "layer", "shards": 2}
    started = send(stack, "POST", "/api/runs/", json.dumps(wanted), JSON)
    assert started.status == 202, started.body
    where = started.headers["Location"]
    assert wait_for(lambda: ended(stack, started.json()["id"])) == "succeeded"

    refused = send(stack, "GET", f"{where}?wait=61")
    assert (refused.status, refused.json()["category"]) == (400, "invalid_input")

    run = stack.get(where)
    metrics = run["metrics"]
    assert metrics["shard_type"] == "layer"
    assert (metrics["component_count"], metrics["successful_components"]) == (2, 2)
    assert metrics["failed_components"] == 0
    assert metrics["inference_time_ms"] > 0
    for index, shard in enumerate(metrics["shards"]):
        assert shard["index"] == index
        assert shard["browser"] and shard["browser_version"] and shard["backend"]
        assert sum(shard["nodes"].values()) > 0
        assert shard["compute_ms"] > 0
        assert shard["attempts"] == 1 + len(shard["recovery_events"])
    assert stack.get(f"/api/shards/?run={run['id']}")["count"] == 2

    outputs = stack.get(f"{where}outputs/")["outputs"]
    binary = send(stack, "GET", f"{where}outputs/", headers={"Accept": "application/octet-stream"})
    length = int(binary.headers["Inference-Header-Content-Length"])
    raw = np.frombuffer(binary.body[length:], np.float32)
    assert np.concatenate([np.float32(item["data"]) for item in outputs]).tolist() == raw.tolist()

    refused = send(stack, "POST", f"{where}cancel/")
    assert (refused.status, refused.json()["category"]) == (409, "conflict")


def test_an_added_batch_dimension_is_told(stack: RunningStack) -> None:
    wanted = {"model": "minilm", "inputs": {"input_ids": [101, 7592, 102]}}
    started = send(stack, "POST", "/api/runs/", json.dumps(wanted), JSON)
    assert started.status == 202, started.body
    assert "input_ids: batch dimension added" in started.json()["filled_in"]


def test_pages_have_a_largest_size(stack: RunningStack) -> None:
    page = stack.get("/api/plans/?limit=1000000&offset=1")
    assert page["previous"].endswith("?limit=1000")


def test_browsers_models_plans_and_metrics(stack: RunningStack) -> None:
    for row in stack.get("/api/browsers/")["results"]:
        assert row["live_unknown"] is False
        live = stack.get(f"/api/browsers/{row['id']}/")["live"]
        assert live["state"] == "ready"
        assert live["heartbeat_age_ms"] >= 0
        assert any(backend["probe_ok"] for backend in row["backends"])

    wanted = json.dumps({"model": "minilm", "strategy": "layer", "shards": 3})
    plan = send(stack, "POST", "/api/plans/", wanted, JSON).json()
    assert [shard["index"] for shard in plan["shards"]] == [0, 1, 2]
    assert plan["shards"][0]["crossing"] == []
    assert plan["shards"][1]["crossing"]
    assert send(stack, "POST", "/api/plans/", wanted, JSON).json()["id"] == plan["id"]

    text = send(stack, "GET", "/metrics").body.decode()
    assert re.search(r'^webpool_browsers\{state="ready"\} [1-9]', text, re.MULTILINE)
    assert re.search(r'^webpool_queue_length\{queue="control"\} \d', text, re.MULTILINE)


def test_what_does_not_exist_is_404(stack: RunningStack) -> None:
    for path in ("browsers/x/", "models/x/", "plans/99999/", "runs/x/", "shards/99999999/", "x/"):
        answer = send(stack, "GET", f"/api/{path}")
        assert answer.status == 404, path
        assert answer.json()["category"] == "invalid_input"


def test_the_documentation_needs_no_other_server(stack: RunningStack) -> None:
    page = send(stack, "GET", "/api/docs/").body.decode()
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links
    for link in links:
        assert link.startswith("/"), link
        assert send(stack, "GET", link).status == 200, link
    schema = send(stack, "GET", "/api/schema/")
    assert b"/api/runs/{run_id}/cancel/" in schema.body


def test_weights_that_lie_outside_the_file_come_along(stack: RunningStack, tmp_path: Path) -> None:
    """The same answer as of the one file; without the weights' file the upload is refused."""
    inside, outside = tmp_path / "inside.onnx", tmp_path / "outside.onnx"
    inside.write_bytes(small_models.block())
    onnx.save(
        onnx.load(inside),
        outside,
        save_as_external_data=True,
        location="outside.weights",
        size_threshold=0,
    )
    refused = upload(stack, outside, "outside")
    assert refused.status == 400, refused.body

    assert upload(stack, inside, "inside").status == 201
    made = upload(stack, outside, "outside", external_data=tmp_path / "outside.weights")
    assert made.status == 201, made.body
    x = np.random.default_rng(3).standard_normal((2, 64)).astype(np.float32)
    answers = []
    with triton.InferenceServerClient(f"127.0.0.1:{stack.port}") as client:
        for name in ("inside", "outside"):
            inputs = [triton_input("x", x, binary=True)]
            parameters = {"browsers": "chromium", "platform": "wasm"}
            answers.append(client.infer(name, inputs, parameters=parameters).as_numpy("y"))
    assert np.array_equal(*answers)


def test_a_model_with_a_tokenizer_takes_texts(stack: RunningStack, tmp_path: Path) -> None:
    words = Tokenizer(WordLevel({"[UNK]": 0, "browsers": 1, "compute": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    ports = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "out")
    ]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["input_ids"], ["out"])], "words", ports[:1], ports[1:]
    )
    path = tmp_path / "words.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)

    made = upload(stack, path, "words", tokenizer=tmp_path / "tokenizer.json")
    assert made.status == 201, made.body
    assert made.json()["tokenizer"]
    wanted = {"model": "words", "texts": ["browsers do compute"]}
    run_id = send(stack, "POST", "/api/runs/", json.dumps(wanted), JSON).json()["id"]
    assert wait_for(lambda: ended(stack, run_id)) == "succeeded"
    (out,) = stack.get(f"/api/runs/{run_id}/outputs/")["outputs"]
    assert (out["shape"], out["data"]) == ([1, 3], [1, 0, 2])


def test_a_model_that_is_not_one_leaves_nothing(stack: RunningStack, tmp_path: Path) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"junk")
    answer = upload(stack, junk, "junk")
    assert answer.status == 400, answer.body
    assert send(stack, "GET", "/api/models/junk/").status == 404


def test_a_model_is_removed_with_its_file(stack: RunningStack, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(small_models.block(seed=12))
    made = upload(stack, path, "short-lived").json()
    assert (stack.home / "files" / made["sha256"]).is_file()
    assert send(stack, "DELETE", "/api/models/short-lived/").status == 204
    assert not (stack.home / "files" / made["sha256"]).exists()
    assert send(stack, "GET", "/api/models/short-lived/").status == 404
