"""The doors against the running stack: an unmodified tritonclient, plain HTTP, the admin as a person."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, Request, build_opener

import numpy as np
import onnx
import pytest
import tritonclient.http as triton
from onnx import TensorProto, helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.support import ensembles, small_models
from tests.support.stack import RunningStack

MINILM = "/v2/models/minilm/infer"
JSON = {"Content-Type": "application/json"}
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


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    def json(self) -> Any:
        return json.loads(self.body)


def send(
    stack: RunningStack,
    method: str,
    path: str,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=60)
    try:
        connection.request(method, path, body, dict(headers or {}))
        return Answer(connection.getresponse())
    finally:
        connection.close()


def multipart(
    fields: Mapping[str, str], files: Sequence[tuple[str, Path]]
) -> tuple[bytes, dict[str, str]]:
    """A form's body and its header."""
    boundary = "webpool-test-boundary"

    def part(name: str, value: bytes, file: str = "") -> bytes:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        return head.encode() + value + b"\r\n"

    parts = [part(key, value.encode()) for key, value in fields.items()]
    parts += [part(key, path.read_bytes(), f'; filename="{path.name}"') for key, path in files]
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def upload(stack: RunningStack, path: Path, name: str, **more: Path) -> Answer:
    body, kind = multipart({"name": name}, [("file", path), *more.items()])
    return send(stack, "POST", "/api/models/", body, kind)


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


def triton_input(name: str, array: np.ndarray[Any, Any], *, binary: bool) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


# --- the Open Inference Protocol ------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("request_line", "header", "status"),
    [
        (f"POST {MINILM}", "Content-Length: 300000000", 413),
        ("POST /api/runs/", "Content-Length: 300000000", 413),
        ("POST /admin/login/", "Content-Length: 300000000", 413),
        ("GET /api/models/", "Content-Length: 300000000", 413),
        ("OPTIONS /admin/inference/onnxmodel/add/", "Content-Length: 300000000", 413),
        ("GET /api/models/", "Transfer-Encoding: chunked", 411),
        ("POST /api/models/", "Content-Length: 5000000000", 413),
        ("POST /api/models/", "Transfer-Encoding: chunked", 411),
        ("POST /admin/inference/onnxmodel/add/", "Content-Length: 5000000000", 413),
        ("POST /admin/inference/onnxmodel/add/", "Transfer-Encoding: chunked", 411),
        ("POST /admin/inference/onnxmodel/add/", "Content-Length: 300000000", 401),
    ],
)
def test_a_body_that_may_not_come_is_refused_unread(
    doors: RunningStack, request_line: str, header: str, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", doors.port), timeout=60) as raw:
        raw.sendall(f"{request_line} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\n\r\n".encode())
        assert raw.recv(100).startswith(f"HTTP/1.1 {status} ".encode())


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
    state = wait_for(lambda: _ended(doors, run["id"]))
    assert state == "cancelled"


def _new_run(stack: RunningStack, before: set[str]) -> Any:
    rows = stack.get("/api/runs/?limit=10")["results"]
    return next((run for run in rows if run["id"] not in before), None)


def _ended(stack: RunningStack, run_id: str) -> str | None:
    state: str = stack.get(f"/api/runs/{run_id}/")["state"]
    return None if state == "running" else state


def wait_for(ask: Any, timeout_s: float = 120.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if (answer := ask()) is not None:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"nothing came within {timeout_s:g} s")


# --- /api/ ----------------------------------------------------------------------------------------


def test_a_run_from_start_to_outputs(doors: RunningStack) -> None:
    wanted = {"model": "minilm", "texts": ["a browser computes"], "strategy": "layer", "shards": 2}
    started = send(doors, "POST", "/api/runs/", json.dumps(wanted), JSON)
    assert started.status == 202, started.body
    where = started.headers["Location"]
    assert wait_for(lambda: _ended(doors, started.json()["id"])) == "succeeded"

    run = doors.get(where)
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
    assert doors.get(f"/api/shards/?run={run['id']}")["count"] == 2

    outputs = doors.get(f"{where}outputs/")["outputs"]
    binary = send(doors, "GET", f"{where}outputs/", headers={"Accept": "application/octet-stream"})
    length = int(binary.headers["Inference-Header-Content-Length"])
    raw = np.frombuffer(binary.body[length:], np.float32)
    assert np.concatenate([np.float32(item["data"]) for item in outputs]).tolist() == raw.tolist()

    refused = send(doors, "POST", f"{where}cancel/")
    assert (refused.status, refused.json()["category"]) == (409, "conflict")


def test_an_added_batch_dimension_is_told(doors: RunningStack) -> None:
    wanted = {"model": "minilm", "inputs": {"input_ids": [101, 7592, 102]}}
    started = send(doors, "POST", "/api/runs/", json.dumps(wanted), JSON)
    assert started.status == 202, started.body
    assert "input_ids: batch dimension added" in started.json()["filled_in"]


def test_pages_have_a_largest_size(doors: RunningStack) -> None:
    page = doors.get("/api/plans/?limit=1000000&offset=1")
    assert page["previous"].endswith("?limit=1000")


def test_browsers_models_plans_and_metrics(doors: RunningStack) -> None:
    for row in doors.get("/api/browsers/")["results"]:
        assert row["live_unknown"] is False
        live = doors.get(f"/api/browsers/{row['id']}/")["live"]
        assert live["state"] == "ready"
        assert live["heartbeat_age_ms"] >= 0
        assert any(backend["probe_ok"] for backend in row["backends"])

    wanted = json.dumps({"model": "minilm", "strategy": "layer", "shards": 3})
    plan = send(doors, "POST", "/api/plans/", wanted, JSON).json()
    assert [shard["index"] for shard in plan["shards"]] == [0, 1, 2]
    assert plan["shards"][0]["crossing"] == []
    assert plan["shards"][1]["crossing"]
    assert send(doors, "POST", "/api/plans/", wanted, JSON).json()["id"] == plan["id"]

    text = send(doors, "GET", "/metrics").body.decode()
    assert re.search(r'^webpool_browsers\{state="ready"\} [1-9]', text, re.MULTILINE)
    assert re.search(r'^webpool_queue_length\{queue="control"\} \d', text, re.MULTILINE)


def test_what_does_not_exist_is_404(doors: RunningStack) -> None:
    for path in ("browsers/x/", "models/x/", "plans/99999/", "runs/x/", "shards/99999999/", "x/"):
        answer = send(doors, "GET", f"/api/{path}")
        assert answer.status == 404, path
        assert answer.json()["category"] == "invalid_input"


def test_the_documentation_needs_no_other_server(doors: RunningStack) -> None:
    page = send(doors, "GET", "/api/docs/").body.decode()
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links
    for link in links:
        assert link.startswith("/"), link
        assert send(doors, "GET", link).status == 200, link
    schema = send(doors, "GET", "/api/schema/")
    assert b"/api/runs/{run_id}/cancel/" in schema.body


def test_weights_that_lie_outside_the_file_come_along(doors: RunningStack, tmp_path: Path) -> None:
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
    refused = upload(doors, outside, "outside")
    assert refused.status == 400, refused.body

    assert upload(doors, inside, "inside").status == 201
    made = upload(doors, outside, "outside", external_data=tmp_path / "outside.weights")
    assert made.status == 201, made.body
    x = np.random.default_rng(3).standard_normal((2, 64)).astype(np.float32)
    answers = []
    with triton.InferenceServerClient(f"127.0.0.1:{doors.port}") as client:
        for name in ("inside", "outside"):
            inputs = [triton_input("x", x, binary=True)]
            parameters = {"browsers": "chromium", "platform": "wasm"}
            answers.append(client.infer(name, inputs, parameters=parameters).as_numpy("y"))
    assert np.array_equal(*answers)


def test_a_model_with_a_tokenizer_takes_texts(doors: RunningStack, tmp_path: Path) -> None:
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

    made = upload(doors, path, "words", tokenizer=tmp_path / "tokenizer.json")
    assert made.status == 201, made.body
    assert made.json()["tokenizer"]
    wanted = {"model": "words", "texts": ["browsers do compute"]}
    run_id = send(doors, "POST", "/api/runs/", json.dumps(wanted), JSON).json()["id"]
    assert wait_for(lambda: _ended(doors, run_id)) == "succeeded"
    (out,) = doors.get(f"/api/runs/{run_id}/outputs/")["outputs"]
    assert (out["shape"], out["data"]) == ([1, 3], [1, 0, 2])


def test_a_model_that_is_not_one_leaves_nothing(doors: RunningStack, tmp_path: Path) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"junk")
    answer = upload(doors, junk, "junk")
    assert answer.status == 400, answer.body
    assert send(doors, "GET", "/api/models/junk/").status == 404


def test_a_model_is_removed_with_its_file(doors: RunningStack, tmp_path: Path) -> None:
    path = division_model(tmp_path / "x.onnx")
    model = onnx.load(path)
    model.doc_string = "other bytes"
    onnx.save(model, path)
    made = upload(doors, path, "short-lived").json()
    assert (doors.home / "files" / made["sha256"]).is_file()
    assert send(doors, "DELETE", "/api/models/short-lived/").status == 204
    assert not (doors.home / "files" / made["sha256"]).exists()
    assert send(doors, "GET", "/api/models/short-lived/").status == 404


# --- the admin --------------------------------------------------------------------------------------


@pytest.fixture
def person(doors: RunningStack) -> OpenerDirector:
    """Somebody who has logged in to the admin, with cookies."""
    script = (
        "from django.contrib.auth.models import User;"
        "User.objects.filter(username='tester').delete();"
        "User.objects.create_superuser('tester', password='long enough a phrase')"
    )
    doors.manage("shell", "-c", script)
    opener = build_opener(HTTPCookieProcessor(CookieJar()))
    login = f"{doors.url}/admin/login/"
    page = opener.open(login).read().decode()
    form = {
        "username": "tester",
        "password": "long enough a phrase",
        "csrfmiddlewaretoken": token_of(page),
        "next": "/admin/",
    }
    assert "The pool" in opener.open(login, urlencode(form).encode()).read().decode()
    return opener


def token_of(page: str) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert found
    return found[1]


def test_the_admin_shows_the_pool_and_a_runs_time_line(
    doors: RunningStack, person: OpenerDirector
) -> None:
    wanted = {"model": "minilm", "texts": ["a line"], "strategy": "layer", "shards": 2}
    run_id = send(doors, "POST", "/api/runs/", json.dumps(wanted), JSON).json()["id"]
    assert wait_for(lambda: _ended(doors, run_id)) == "succeeded"

    def look(path: str) -> str:
        page: str = person.open(f"{doors.url}/admin/{path}").read().decode()
        return page

    first = look("")
    browsers = [row["id"] for row in doors.browser_rows()]
    for browser in browsers:
        assert f"/admin/browsers/browser/{browser}/change/" in first
        assert "s ago" in look(f"browsers/browser/{browser}/change/")
    page = look(f"inference/run/{run_id}/change/")
    rows = {shard["browser"] for shard in doors.get(f"/api/runs/{run_id}/")["metrics"]["shards"]}
    assert page.count('class="tl-track') == 2
    assert page.count("tl-bar tl-compute") == 2
    assert all(browser in page for browser in rows)
    for path in ("onnxmodel", "plan", "run", "runshard", "attempt", "apikey"):
        assert look(f"inference/{path}/")
    assert "Forget old runs" in look("django_celery_beat/periodictask/")


def test_a_person_makes_an_api_key(doors: RunningStack, person: OpenerDirector) -> None:
    add = f"{doors.url}/admin/inference/apikey/add/"
    token = token_of(person.open(add).read().decode())
    form = {"csrfmiddlewaretoken": token, "name": f"k{time.time_ns()}", "active": "on"}
    page = person.open(add, urlencode(form).encode()).read().decode()
    key = re.search(r"wp_[\w-]{43}", page)
    assert key
    allowed = send(doors, "GET", "/api/models/", headers={"Authorization": f"Bearer {key[0]}"})
    assert allowed.status == 200


def test_a_person_registers_a_model_and_deletes_it(
    doors: RunningStack, person: OpenerDirector, tmp_path: Path
) -> None:
    path = tmp_path / "by-hand.onnx"
    path.write_bytes(small_models.block(seed=11))
    name = f"by-hand-{time.time_ns()}"

    def fill_in(file: Path) -> str:
        add = f"{doors.url}/admin/inference/onnxmodel/add/"
        token = token_of(person.open(add).read().decode())
        fields = {"csrfmiddlewaretoken": token, "name": name, "model_type": "other"}
        page: str = person.open(Request(add, *multipart(fields, [("file", file)]))).read().decode()
        return page

    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"junk")
    assert "junk.onnx" in fill_in(junk)
    assert send(doors, "GET", f"/api/models/{name}/").status == 404

    assert name in fill_in(path)
    made = doors.get(f"/api/models/{name}/")
    stored = doors.home / "files" / made["sha256"]
    assert stored.stat().st_size == made["file_bytes"]

    listed = person.open(f"{doors.url}/admin/inference/onnxmodel/?q={name}").read().decode()
    key = re.search(r"/admin/inference/onnxmodel/(\d+)/change/", listed)
    assert key
    delete = f"{doors.url}/admin/inference/onnxmodel/{key[1]}/delete/"
    asked = person.open(delete).read().decode()
    assert "0 plans, 0 runs" in asked
    form = {"csrfmiddlewaretoken": token_of(asked), "post": "yes"}
    person.open(delete, urlencode(form).encode()).read()
    assert send(doors, "GET", f"/api/models/{name}/").status == 404
    assert not stored.exists()


def test_a_person_registers_a_model_of_several_files(
    doors: RunningStack, person: OpenerDirector, tmp_path: Path
) -> None:
    path = ensembles.diamond(tmp_path / "files")
    name = f"several-{time.time_ns()}"

    def fill_in(*files: str) -> str:
        add = f"{doors.url}/admin/inference/onnxmodel/add/"
        token = token_of(person.open(add).read().decode())
        fields = {"csrfmiddlewaretoken": token, "name": name, "model_type": "multimodal"}
        sent = [("manifest", path), *(("components", path.parent / file) for file in files)]
        page: str = person.open(Request(add, *multipart(fields, sent))).read().decode()
        return page

    assert "is neither a file beside the manifest" in fill_in("text.onnx", "image.onnx")
    assert send(doors, "GET", f"/api/models/{name}/").status == 404
    assert name in fill_in("text.onnx", "image.onnx", "fusion.onnx")
    listed = person.open(f"{doors.url}/admin/inference/onnxmodel/?q={name}").read().decode()
    key = re.search(r"/admin/inference/onnxmodel/(\d+)/change/", listed)
    assert key
    shown = person.open(f"{doors.url}/admin/inference/onnxmodel/{key[1]}/change/").read().decode()
    assert "a ← text_pooled, b ← pooled" in shown
    assert "text, image</td>" in shown
    assert send(doors, "DELETE", f"/api/models/{name}/").status == 204
