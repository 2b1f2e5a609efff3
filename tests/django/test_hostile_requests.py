"""Whatever a caller sends, through every door: a clear refusal, never a failure of the server."""

from __future__ import annotations

import io
import re
import uuid
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import onnx
import pytest
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from inference.models import OnnxModel
from inference.urls import urlpatterns
from tests.support.asgi import Answered, ask
from tests.support.hostile import HUGE, JSON, body_of

EXAMPLES = settings(max_examples=60)


@pytest.fixture(scope="module")
def model(asked_model: OnnxModel) -> OnnxModel:
    return asked_model


def check(answered: Answered) -> None:
    """Refused or done; a run that was right finds nobody to compute it here, and says so."""
    late = answered.status == 504 and answered.json()["category"] == "timeout"
    assert answered.status < 500 or late, answered.body
    if answered.status >= 400 and answered.headers["content-type"].startswith("application/json"):
        assert answered.json()["error"]


ODD_TEXT = st.sampled_from(
    ["", "\ud800", "a\0b", "__proto__", "a" * 5000, "1e400", "nan", "½", "0=a", "=", "../..", "%00"]
)
ODD = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.floats(allow_nan=False), ODD_TEXT, st.just(HUGE),
        st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**30, 10**400, -(10**400)]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(ODD_TEXT, inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip
OPTIONS = (
    "strategy", "shards", "data_parallel", "platform", "browsers", "pins", "max_retries", "deadline_s",
    "timeout", "strict", "critical", "redundancy", "allow_unproved_split", "texts", "__proto__",
)  # fmt: skip


@EXAMPLES
@given(st.sampled_from(OPTIONS), ODD)
def test_a_run_with_an_odd_option(model: OnnxModel, option: str, value: Any) -> None:
    document = {"model": model.name, "inputs": {"x": [[1, 2, 3, 4]]}, option: value}
    check(ask("POST", "/api/runs/", body_of(document), JSON))


@EXAMPLES
@given(st.sampled_from(("model", "inputs", "texts", "x", "tensors")), ODD, ODD_TEXT)
def test_a_run_with_odd_inputs(model: OnnxModel, where: str, value: Any, name: str) -> None:
    document: dict[str, Any] = {"model": model.name, "inputs": {"x": value, name: value}}
    if where == "tensors":
        document["inputs"] = [{"name": "x", "datatype": "FP32", "shape": value, "data": value}]
    elif where != "x":
        document[where] = value
    check(ask("POST", "/api/runs/", body_of(document), JSON))


@EXAMPLES
@given(
    st.sampled_from(("name", "datatype", "shape", "data", "parameters", "id", "outputs", "inputs")),
    ODD,
    st.sampled_from((None, "0", "9" * 5000, "-1", "\xb2", "")),
)
def test_an_odd_request_of_the_protocol(
    model: OnnxModel, where: str, value: Any, header: str | None
) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    document: dict[str, Any] = {"inputs": [tensor]}
    (tensor if where in tensor or where == "parameters" else document)[where] = value
    headers = JSON if header is None else {**JSON, "Inference-Header-Content-Length": header}
    check(ask("POST", f"/v2/models/{model.name}/infer", body_of(document), headers))


@EXAMPLES
@given(
    st.sampled_from(
        (
            "/api/plans/", "/api/models/", "/api/history/anomalies/judge/", "/api/browsers/a/drain/",
            "/v2/repository/index",
        )
    ),
    st.dictionaries(
        st.sampled_from(
            (
                "model", "shards", "strategy", "data_parallel", "name", "manifest", "model_type", "metrics",
                "browser", "platform", "model_name", "reason", "ready",
            )
        ),
        ODD,
        max_size=6,
    ),
)  # fmt: skip
def test_an_odd_document(model: OnnxModel, path: str, document: dict[str, Any]) -> None:
    check(ask("POST", path, body_of(document), JSON))


def paths() -> list[str]:
    """Every pattern of the application's own, `*` for what a caller chooses in it."""
    found = [str(pattern.pattern) for pattern in urlpatterns]
    plain = [re.sub(r"<[^>]+>", "*", path.removeprefix("^")) for path in found]
    return sorted({"/" + re.sub(r"\(\?P.*", "*", path).rstrip("$") for path in plain})


ODD_SEGMENT = st.sampled_from(
    ("a", "0", "9" * 30, "9" * 5000, "\0", "½", "x" * 3000, "..", "%", "__proto__", str(uuid.UUID(int=0)))
)  # fmt: skip
ODD_QUERY = st.sampled_from(
    (
        "limit=" + "9" * 30, "limit=" + "9" * 5000, "offset=" + "9" * 5000, "offset=-1", "limit=%C2%B2",
        "model=%ED%A0%80", "state=%00", "model=x", "browser=%FF", "run=x", "days=nan", "days=1e308",
        "days=-1", "model_type=x&model_name=x", "as=x", "names=x", "format=x", "a[__proto__]=1", "&&==",
        "model_type=other&model_name=x&days=1e18",
    )
)  # fmt: skip


@settings(max_examples=150)
@given(
    st.sampled_from(paths()),
    ODD_SEGMENT,
    ODD_QUERY,
    st.sampled_from(("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "ODD")),
    st.sampled_from((b"", b"[", b"null", b"\xff", b"[" * 100_000, b'{"a":NaN}')),
    st.sampled_from(
        (
            "application/json", "multipart/form-data", "multipart/form-data; boundary=\xe4", "",
            "application/x-www-form-urlencoded", "application/json; charset=odd",
        )
    ),
)  # fmt: skip
def test_every_path_with_an_odd_address_and_body(
    model: OnnxModel, path: str, segment: str, query: str, method: str, body: bytes, kind: str
) -> None:
    path = path.replace("*", quote(segment, safe="") if segment == "%" else segment)
    check(ask(method, path, body, {"Content-Type": kind}, query=query))


def test_addresses_outside_every_pattern(model: OnnxModel) -> None:
    for path in ("/static/../x", "/static/\0", "/static/" + "x" * 5000, "//", "/v2/models/\udcff"):
        if path.isascii():
            check(ask("GET", path))
    for length in ("9" * 5000, "-1", "1e3", "٣".encode().decode("latin-1")):
        for path in ("/api/runs/", f"/v2/models/{model.name}/infer", "/admin/"):
            check(ask("POST", path, b"{}", {**JSON, "Content-Length": length}))
    for name in ("Cookie", "Authorization", "Host", "Accept", "Content-Encoding", "Range"):
        check(ask("GET", "/api/runs/", headers={name: "sessionid=\xff; \xed"}))


# --- files -----------------------------------------------------------------------------------


def npz(**arrays: Any) -> bytes:
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    return packed.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, content)
    return packed.getvalue()


def member(shape: str, descr: str = "'<f4'") -> bytes:
    text = f"{{'descr':{descr},'fortran_order':False,'shape':{shape}}}".ljust(117) + "\n"
    return zipped("x.npy", b"\x93NUMPY\x01\x00v\x00" + text.encode())


ONE_ITEM = b'{"x": [1, 2, 3, 4]}\n'
FILES = {
    "deep": ("in.jsonl", b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"),
    "digits": ("in.jsonl", b'{"x":[' + b"9" * 5000 + b"]}"),
    "surrogate": ("in.jsonl", rb'{"\ud800": ["\ud800"]}'),
    "no array": ("in.npz", zipped("x.npy", b"hello")),
    "no member of numpy": ("in.npz", zipped("x.txt", b"hello")),
    "only a head": ("in.npz", b"PK\x03\x04junk"),
    "one array": ("in.npz", b"\x93NUMPY\x01\x00"),
    "scalar": ("in.npz", npz(x=np.float32(1))),
    "pickle": ("in.npz", npz(x=np.array([{"a": 1}], dtype=object))),
    "time": ("in.npz", npz(x=np.array(["2020"], dtype="M8[D]"))),
    "long axis": ("in.npz", member(f"(0,{10**30})")),
    "more than memory": ("in.npz", member("(1000000000000,)")),
    "record": ("in.npz", member("(1,)", "[('a','<f4')]")),
    "brackets": ("in.npz", zipped("x.npy", b"\x93NUMPY\x01\x00v\x00" + b"(" * 117 + b"\n")),
    "parquet": ("in.parquet", b"PAR1"),
    "empty": ("in.parquet", b""),
    "long name": ("x" * 300 + ".jsonl", ONE_ITEM),
    "long name in bytes": ("ä" * 130 + ".jsonl", ONE_ITEM),
    "no name": (".jsonl", ONE_ITEM),
    "parent": ("..", ONE_ITEM),
    "NUL": ("a\0.jsonl", ONE_ITEM),
}


def form(fields: list[tuple[str, str]], files: list[tuple[str, str, bytes]]) -> Any:
    parts = [
        f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    ]
    for name, file, content in files:
        head = f'--B\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n'
        parts.append(
            head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n"
        )
    return b"".join(parts) + b"--B--\r\n", {"Content-Type": "multipart/form-data; boundary=B"}


@pytest.mark.parametrize("what", FILES)
def test_an_odd_file(model: OnnxModel, what: str) -> None:
    name, content = FILES[what]
    own = [("name", f"odd-{uuid.uuid4().hex[:6]}")]
    check(ask("POST", "/api/batches/", *form([("model", model.name)], [("file", name, content)])))
    check(ask("POST", "/api/models/", *form(own, [("file", name, content)])))
    parts = [("manifest", name, content), ("components", name, content)]
    check(ask("POST", "/api/models/", *form(own, parts)))
    parts = [("file", "a.onnx", b""), ("tokenizer", name, content)]
    check(ask("POST", "/api/models/", *form(own, parts)))


def test_more_files_or_fields_than_are_taken(model: OnnxModel) -> None:
    files = [(f"file{i}", "a.jsonl", b"{}") for i in range(150)]
    fields = [(f"f{i}", "a") for i in range(1500)]
    for path in ("/api/batches/", "/api/models/"):
        for body, headers in (form([], files), form(fields, [])):
            answered = ask("POST", path, body, headers)
            assert answered.status == 400
            assert "100 files" in answered.json()["error"] or "fields" in answered.json()["error"]


@EXAMPLES
@given(
    st.sampled_from(
        (
            "batch_size", "concurrency", "deadline_s", "shards", "browsers", "platform", "strategy", "model",
            "again", "max_retries", "__proto__", "pins",
        )
    ),
    st.sampled_from(("9" * 30, "9" * 5000, "-1", "nan", "1e400", "a\0b", "", "٣", "[", "null")),
)  # fmt: skip
def test_an_odd_field_of_a_batch_job(model: OnnxModel, field: str, value: str) -> None:
    files = [("file", "in.jsonl", ONE_ITEM)]
    check(ask("POST", "/api/batches/", *form([("model", model.name), (field, value)], files)))


@settings(max_examples=20)
@given(
    st.sampled_from(
        (
            "/admin/inference/batchjob/add/", "/admin/inference/onnxmodel/add/",
            "/admin/inference/apikey/add/", "/admin/pool/a/", "/admin/inference/run/",
        )
    ),
    st.dictionaries(
        st.sampled_from(
            (
                "name", "model", "model_type", "batch_size", "concurrency", "browsers", "action", "user",
                "requests_per_minute", "_selected_action", "index",
            )
        ),
        st.sampled_from(("", "9" * 30, "9" * 5000, "a\0b", "½", "\udcff", "1", "a" * 300)),
        max_size=6,
    ),
)  # fmt: skip
def test_an_odd_form_of_the_admin(model: OnnxModel, path: str, fields: dict[str, str]) -> None:
    root, _ = User.objects.get_or_create(username="root", is_staff=True, is_superuser=True)
    browser = Client(raise_request_exception=False, headers={"Host": "127.0.0.1"})
    browser.force_login(root)
    plain = {k: v.encode(errors="surrogateescape").decode("latin-1") for k, v in fields.items()}
    assert browser.post(path, plain).status_code < 500


# --- models ----------------------------------------------------------------------------------


def test_dimensions_that_an_exporter_named_with_a_question_mark(
    model: OnnxModel, tmp_path: Path
) -> None:
    """They have no name: two of them need not be equal."""
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["?", "?"])
        for name in ("a", "b", "y")
    ]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["y"])], "g", ports[:2], ports[2:]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, tmp_path / "q.onnx")
    name = f"q-{uuid.uuid4().hex[:6]}"
    content = (tmp_path / "q.onnx").read_bytes()
    assert (
        ask("POST", "/api/models/", *form([("name", name)], [("file", "q.onnx", content)])).status
        == 201
    )
    inputs = {"a": [[1, 2, 3]], "b": [[1], [2], [3]]}
    started = ask("POST", "/api/runs/", body_of({"model": name, "inputs": inputs}), JSON)
    assert started.status == 202, started.body
