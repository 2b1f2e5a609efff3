"""/v2/ against the running stack: an unmodified tritonclient, and what plain HTTP can get wrong."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient.http as triton
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

from tests.support.doors import ended, send, triton_input, upload, wait_for
from tests.support.stack import RunningStack

MINILM = "/v2/models/minilm/infer"
ONNX_TYPES = {
    "f32": TensorProto.FLOAT,
    "f64": TensorProto.DOUBLE,
    "i8": TensorProto.INT8,
    "u8": TensorProto.UINT8,
    "i16": TensorProto.INT16,
    "u16": TensorProto.UINT16,
    "i32": TensorProto.INT32,
    "u32": TensorProto.UINT32,
    "i64": TensorProto.INT64,
    "u64": TensorProto.UINT64,
    "f16": TensorProto.FLOAT16,
    "flag": TensorProto.BOOL,
    "text": TensorProto.STRING,
}


def identity_model(path: Path) -> Path:
    """Every tensor type goes in and comes out again, one dimension each, of any size."""
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in ONNX_TYPES]

    def port(name: str, kind: int) -> Any:
        return helper.make_tensor_value_info(name, kind, [f"n_{name.removesuffix('_out')}"])

    graph = helper.make_graph(
        nodes,
        "identity",
        [port(name, kind) for name, kind in ONNX_TYPES.items()],
        [port(f"{name}_out", kind) for name, kind in ONNX_TYPES.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def division_model(path: Path) -> Path:
    """Two scalars, their quotient: the way to get an infinity."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in "xyz"]
    graph = helper.make_graph(
        [helper.make_node("Div", ["x", "y"], ["z"])], "d", ports[:2], ports[2:]
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


@pytest.fixture(scope="module")
def doors(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    """The stack with two more models, registered through REST."""
    folder = tmp_path_factory.mktemp("models")
    for name, build in (("identity", identity_model), ("division", division_model)):
        answer = upload(stack, build(folder / f"{name}.onnx"), name)
        assert answer.status == 201, answer.body
    return stack


@pytest.fixture
def client(doors: RunningStack) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{doors.port}") as connected:
        yield connected


def values(count: int) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(7)
    whole = {"i8": "i1", "u8": "u1", "i16": "i2", "u16": "u2", "i32": "i4", "u32": "u4"}
    return {
        "f32": random.normal(size=count).astype(np.float32),
        "f64": random.normal(size=count),
        "f16": random.normal(size=count).astype(np.float16),
        **{name: random.integers(0, 100, count).astype(code) for name, code in whole.items()},
        "i64": random.integers(-(2**62), 2**62, count),
        "u64": random.integers(0, 2**63, count).astype(np.uint64) * np.uint64(2),
        "flag": random.random(count) > 0.5,
        "text": np.array([f"ä{index}" * index for index in range(count)], dtype=object),
    }


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("minilm")
    assert client.is_model_ready("minilm", "1")
    assert not client.is_model_ready("nobody")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("minilm", "1")
    assert metadata["versions"] == ["1"]
    assert {"name": "input_ids", "datatype": "INT64", "shape": [-1, -1]} in metadata["inputs"]
    assert client.get_model_config("minilm")["name"] == "minilm"
    assert {"minilm", "identity"} <= {row["name"] for row in client.get_model_repository_index()}


def test_statistics(client: triton.InferenceServerClient) -> None:
    """What one more sharded run adds, as Triton's own client reads it."""

    def now() -> dict[str, Any]:
        (told,) = client.get_inference_statistics("minilm", "1")["model_stats"]
        return told

    before, wanted = now(), triton_input("input_ids", np.array([[101, 102]]), binary=True)
    client.infer("minilm", [wanted], parameters={"strategy": "layer", "shards": 2})
    after = now()

    def more(name: str, what: str) -> int:
        return after["inference_stats"][name][what] - before["inference_stats"][name][what]

    assert after["inference_count"] - before["inference_count"] == 1
    assert after["execution_count"] - before["execution_count"] == 2
    counted = {name: more(name, "count") for name in after["inference_stats"]}
    assert counted == {"success": 1, "fail": 0, "queue": 2, "compute_infer": 2, "transfer": 2}
    assert 0 < more("compute_infer", "ns") < more("success", "ns")
    assert after["last_inference"] > before["last_inference"]
    everything = client.get_inference_statistics()["model_stats"]
    assert after["name"] in [one["name"] for one in everything]


@pytest.mark.parametrize("count", [3, 0])
@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_every_type_passes_both_ways(
    client: triton.InferenceServerClient, binary: bool, packed: str | None, count: int
) -> None:
    sent = values(count)
    answer = client.infer(
        "identity",
        [triton_input(name, array, binary=binary) for name, array in sent.items()],
        outputs=[triton.InferRequestedOutput(f"{name}_out", binary_data=binary) for name in sent],
        request_id="seven",
        request_compression_algorithm=packed,
        response_compression_algorithm=packed,
    )
    assert answer.get_response()["id"] == "seven"
    for name, array in sent.items():
        back = answer.as_numpy(f"{name}_out")
        if name == "text":
            back = np.array([s.decode() if isinstance(s, bytes) else s for s in back], dtype=object)
        assert back.shape == array.shape, name
        assert (back == array).all(), name


def test_scalars_and_infinity(client: triton.InferenceServerClient) -> None:
    def divide(over: float, binary: bool) -> Any:
        inputs = [
            triton_input("x", np.array(3, np.float32), binary=True),
            triton_input("y", np.array(over, np.float32), binary=False),
        ]
        wanted = [triton.InferRequestedOutput("z", binary_data=binary)]
        return client.infer("division", inputs, outputs=wanted).as_numpy("z")

    assert divide(2, binary=False).shape == ()
    assert divide(2, binary=False) == 1.5
    assert divide(0, binary=True) == np.inf
    with pytest.raises(InferenceServerException, match="NaN or infinite") as caught:
        divide(0, binary=False)
    assert caught.value.status() == "422"


def test_a_sharded_run_equals_the_whole(client: triton.InferenceServerClient) -> None:
    ids = np.array([[101, 7592, 2088, 102]], np.int64)
    inputs = [triton_input("input_ids", ids, binary=True)]
    whole = client.infer("minilm", inputs)
    for parameters in (
        {"strategy": "layer", "shards": 2},
        {"strategy": "layer", "shards": 3, "platform": "wasm", "max_retries": 1},
        {"strategy": "layer", "shards": 2, "pins": "0=/wasm,1=/wasm"},
    ):
        answer = client.infer("minilm", inputs, parameters=parameters)
        facts = answer.get_response()["parameters"]
        assert facts["strategy"] == "layer"
        assert len(facts["browsers"].split(",")) == facts["shards"] == parameters["shards"]
        for output in whole.get_response()["outputs"]:
            expected = whole.as_numpy(output["name"])
            limit = 1e-4 * max(1.0, float(np.abs(expected).max()))
            assert np.abs(answer.as_numpy(output["name"]) - expected).max() <= limit


def test_a_batch_is_split_over_browsers(client: triton.InferenceServerClient) -> None:
    ids = np.array([[101, 7592, 102], [101, 2088, 102]], np.int64)
    inputs = [triton_input("input_ids", ids, binary=False)]
    whole = client.infer("minilm", inputs)
    answer = client.infer("minilm", inputs, parameters={"strategy": "data", "shards": 2})
    name = whole.get_response()["outputs"][0]["name"]
    assert np.abs(answer.as_numpy(name) - whole.as_numpy(name)).max() <= 1e-4
    assert answer.get_response()["parameters"]["shards"] == 2


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"model_name": "nobody"}, "404", "no model named 'nobody'"),
        ({"model_version": "2"}, "404", "has version 1 only"),
        ({"outputs": [triton.InferRequestedOutput("q")]}, "400", "output 'q'"),
        ({"parameters": {"stratgy": "layer"}}, "400", "unknown parameter stratgy"),
        ({"parameters": {"strategy": "layer", "shards": 999}}, "400", "at most"),
        ({"parameters": {"browsers": "netscape"}}, "404", "no browser of the pool"),
        ({"parameters": {"platform": "cuda"}}, "400", "webnn, webgpu, wasm"),
        ({"parameters": {"pins": "zero=chromium"}}, "400", "expected SHARD=BROWSER"),
        ({"priority": 3}, "400", "unknown parameter priority"),
    ],
)
def test_requests_that_cannot_be_right(
    client: triton.InferenceServerClient, change: dict[str, Any], status: str, says: str
) -> None:
    ids = triton_input("input_ids", np.array([[101, 102]], np.int64), binary=True)
    with pytest.raises(InferenceServerException) as caught:
        client.infer(**{"model_name": "minilm", "inputs": [ids], **change})
    assert caught.value.status() == status
    assert says in str(caught.value)


def test_tensors_that_the_model_does_not_take(client: triton.InferenceServerClient) -> None:
    for tensor, says in (
        (triton_input("input_ids", np.zeros((1, 2), np.float32), binary=True), "expected int64"),
        (triton_input("input_ids", np.zeros(2, np.int64), binary=True), "expected shape"),
        (triton_input("words", np.zeros((1, 2), np.int64), binary=True), "words"),
    ):
        with pytest.raises(InferenceServerException) as caught:
            client.infer("minilm", [tensor])
        assert caught.value.status() == "400"
        assert says in str(caught.value)


def test_malformed_bodies(doors: RunningStack) -> None:
    good = json.dumps(
        {"inputs": [{"name": "input_ids", "shape": [1, 1], "datatype": "INT64", "data": [101]}]}
    )
    length = "Inference-Header-Content-Length"
    for body, headers, status, says in (
        ("{", {}, 400, "expected JSON"),
        (good, {length: "100000"}, 400, "at most"),
        (good, {"Content-Encoding": "gzip"}, 400, "is not gzip"),
        (gzip.compress(good.encode())[:-9], {"Content-Encoding": "gzip"}, 400, "ends before"),
        (gzip.compress(bytes(260 * 2**20)), {"Content-Encoding": "gzip"}, 413, "once unpacked"),
        (good, {"Content-Encoding": "br"}, 415, "gzip or deflate"),
        (good, {"Host": "evil.example"}, 400, "WEBPOOL_ALLOWED_HOSTS"),
        (good, {"Origin": "http://evil.example"}, 403, "use an API key"),
        (good, {"Authorization": "Bearer wrong"}, 401, "API key"),
    ):
        answer = send(doors, "POST", MINILM, body, headers)
        assert (answer.status, says in answer.json()["error"]) == (status, True), answer.body
        assert answer.json()["category"]


def test_a_caller_that_leaves_frees_its_run(doors: RunningStack) -> None:
    """Seconds of work are asked for and abandoned: the run ends as cancelled."""
    ids = [[101] * 256] * 4
    body = json.dumps(
        {"inputs": [{"name": "input_ids", "shape": [4, 256], "datatype": "INT64", "data": ids}]}
    )
    before = {run["id"] for run in doors.get("/api/runs/?limit=1000")["results"]}
    with socket.create_connection(("127.0.0.1", doors.port), timeout=60) as raw:
        head = f"POST {MINILM} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        raw.sendall((head + body).encode())
        run = wait_for(lambda: _new_run(doors, before))
    state = wait_for(lambda: ended(doors, run["id"]))
    assert state == "cancelled"


def _new_run(stack: RunningStack, before: set[str]) -> Any:
    rows = stack.get("/api/runs/?limit=10")["results"]
    return next((run for run in rows if run["id"] not in before), None)
