"""Every door takes a value exactly or refuses it: REST, /v2, Python, the command line, files of batches."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from onnx import TensorProto, helper

from inference.batches import jobs, parquet, storage
from inference.batches.prepare import BadItems
from inference.catalog import registry
from inference.catalog.plans import clear_cache
from inference.client.requests import request_for
from inference.conversion.documents import LARGE_BYTES
from inference.errors import InvalidRequest
from inference.graph.spec import dtype_of
from inference.models import OnnxModel, Run
from inference.models.batches import BatchJob
from inference.sandbox import archives
from inference.store import tensors
from inference.store.tensors import TensorRef, decode_array
from inference.trying.inputs import Given, prepared
from inference.wire.oip.datatypes import NAMES
from inference.wire.oip.reading import decode_request
from tests.support.asgi import ask
from tests.support.ledger import publish

PORTS = {
    "i8": TensorProto.INT8,
    "u8": TensorProto.UINT8,
    "i32": TensorProto.INT32,
    "i64": TensorProto.INT64,
    "u64": TensorProto.UINT64,
    "f16": TensorProto.FLOAT16,
    "f32": TensorProto.FLOAT,
    "flag": TensorProto.BOOL,
    "text": TensorProto.STRING,
}
RIGHT: dict[str, list[Any]] = {
    "i8": [-128, 127],
    "u8": [0, 255],
    "i32": [-(2**31), 2**31 - 1],
    "i64": [2**53 + 1, -(2**63)],
    "u64": [2**64 - 1, 2**63 + 1],
    "f16": [0.5, 2048],
    "f32": [1.5, 2**24],
    "flag": [True, 0],
    "text": ["größer", ""],
}
WRONG: list[tuple[str, list[Any], str]] = [
    ("i8", [44, 300], "whole numbers from -128 to 127; got 300 at [1]"),
    ("u8", [-1, 0], "whole numbers from 0 to 255; got -1 at [0]"),
    ("i32", [0, 3000000000], "got 3000000000 at [1]"),
    ("i64", [2**63, 0], "got 9223372036854775808 at [0]"),
    ("i64", [2.5, 1.0], "got 2.5 at [0] (a float, not an integer)"),
    ("f16", [1.0, 70000.0], "got 70000.0 at [1]"),
    ("f32", [1e39, 0.0], "got 1e+39 at [0]"),
    ("text", ["a", "b\0c"], "got 'b\\x00c' at [1]"),
]
ONLY_UNTYPED: list[tuple[str, list[Any], str]] = [
    ("i8", [True, 1], "got true at [0]"),
    ("f32", ["1", 2], "got '1' at [0]"),
    ("f32", [None, 2], "got null at [0]"),
    ("f32", [2**24 + 1, 0], "the nearest it holds is 16777216"),
    ("flag", [1, 2], "got 2 at [1]"),
    ("text", ["a", 5], "got 5 at [1]"),
    ("text", ["a", "\ud800"], "no form in UTF-8"),
]


@pytest.fixture(scope="module")
def model(
    database: None, valkey: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OnnxModel]:
    """What goes in comes out: an input of two elements for each type."""
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in PORTS]
    inputs, outputs = (
        [helper.make_tensor_value_info(name + end, kind, [2]) for name, kind in PORTS.items()]
        for end in ("", "_out")
    )
    graph = helper.make_graph(nodes, "exact", inputs, outputs)
    path = tmp_path_factory.mktemp("models") / "exact.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    made = registry.add_model(path, name="exact-inputs")
    yield made
    made.delete()
    clear_cache()


@pytest.fixture(autouse=True)
def pool(clean: None, model: OnnxModel) -> Iterator[None]:
    publish("a")
    yield
    BatchJob.objects.all().delete()


# --- the doors -----------------------------------------------------------------------------

Inputs = Mapping[str, Any]
Door = Callable[[Inputs, Path], str]


LARGE = " " * (LARGE_BYTES + 1)  # behind it, it is read in another process


def post(inputs: Any, more: str = "") -> Any:
    content = json.dumps({"model": "exact-inputs", "inputs": inputs}) + more
    local = Client(headers={"host": "localhost"})
    return local.post("/api/runs/", content, content_type="application/json")


def rest(inputs: Inputs, folder: Path) -> str:
    answer = post(dict(inputs))
    assert answer.status_code == 400, answer.content
    return said(answer)


def rest_in_the_protocols_form(inputs: Inputs, folder: Path) -> str:
    answer = post(entries(inputs))
    assert answer.status_code == 400, answer.content
    return said(answer)


def rest_large(inputs: Inputs, folder: Path) -> str:
    answer, small = post(dict(inputs), LARGE), rest(inputs, folder)
    assert (answer.status_code, said(answer)) == (400, small)
    return small


def rest_large_in_the_protocols_form(inputs: Inputs, folder: Path) -> str:
    answer, small = post(entries(inputs), LARGE), rest_in_the_protocols_form(inputs, folder)
    assert (answer.status_code, said(answer)) == (400, small)
    return small


def open_inference_large(inputs: Inputs, folder: Path) -> str:
    body = (json.dumps({"inputs": entries(inputs)}) + LARGE).encode()
    answer = ask("POST", "/v2/models/exact-inputs/infer", body)
    assert answer.status == 400, answer.body
    return str(answer.json()["error"])


def tried_large(inputs: Inputs, folder: Path) -> str:
    given = Given(tensors=(json.dumps(dict(inputs)) + LARGE).encode())
    with pytest.raises(InvalidRequest) as caught:
        prepared(registry.get_model("exact-inputs"), (), given, "somebody")
    return str(caught.value)


def said(answer: Any) -> str:
    return str(json.loads(answer.content)["error"])


def entries(inputs: Inputs) -> list[dict[str, Any]]:
    return [
        {"name": n, "datatype": NAMES[dtype_of(PORTS[n])], "shape": [len(v)], "data": v}
        for n, v in inputs.items()
    ]


def open_inference(inputs: Inputs, folder: Path) -> str:
    with pytest.raises(InvalidRequest) as caught:
        decode_request(json.dumps({"inputs": entries(inputs)}).encode(), None)
    return str(caught.value)


def python(inputs: Inputs, folder: Path) -> str:
    with pytest.raises(InvalidRequest) as caught:
        request_for("exact-inputs", inputs, {})
    return str(caught.value)


def python_arrays(inputs: Inputs, folder: Path) -> str:
    return python(arrays(inputs), folder)


def arrays(inputs: Inputs) -> dict[str, np.ndarray]:
    """Arrays of the types that hold what was sent, not of the ports'."""
    kinds = {name: np.uint64 if max_whole(v) >= 2**63 else None for name, v in inputs.items()}
    return {name: np.array(value, kinds[name]) for name, value in inputs.items()}


def max_whole(values: list[Any]) -> int:
    return max((value for value in values if type(value) is int), default=0)


def command_line(path: Path) -> str:
    with pytest.raises(CommandError) as caught:
        call_command("infer", "exact-inputs", "--input", str(path))
    return str(caught.value)


def infer_json(inputs: Inputs, folder: Path) -> str:
    path = folder / "in.json"
    path.write_text(json.dumps(dict(inputs)))
    return command_line(path)


def infer_npz(inputs: Inputs, folder: Path) -> str:
    path = folder / "in.npz"
    with path.open("wb") as file:
        archives.write(file, arrays(inputs))
    return command_line(path)


def batch(path: Path) -> str:
    with pytest.raises(BadItems) as caught:
        jobs.create_job(jobs.JobRequest(model="exact-inputs", source=path))
    return str(caught.value)


def batch_jsonl(inputs: Inputs, folder: Path) -> str:
    path = folder / "in.jsonl"
    path.write_text(json.dumps(dict(inputs)) + "\n")
    return batch(path)


def batch_npz(inputs: Inputs, folder: Path) -> str:
    path = folder / "in.npz"
    with path.open("wb") as file:
        archives.write(file, {n: a[np.newaxis] for n, a in arrays(inputs).items()})
    return batch(path)


def batch_parquet(inputs: Inputs, folder: Path) -> str:
    """The column has the type that holds what was sent, not the port's."""
    ((name, value),) = inputs.items()
    lines, path = folder / "in.jsonl", folder / "in.parquet"
    lines.write_text(json.dumps({name: value}) + "\n")
    kind = "UBIGINT" if max_whole(value) >= 2**63 else SQL[type(value[-1])]
    columns = {name: f"{kind}[]"}
    parquet.from_jsonl(lines, columns, path, longest=200)
    return batch(path)


SQL = {int: "BIGINT", float: "DOUBLE", str: "VARCHAR"}
UNTYPED: list[Door] = [
    rest, rest_in_the_protocols_form, open_inference, python, infer_json, batch_jsonl,
    rest_large, rest_large_in_the_protocols_form, open_inference_large, tried_large,
]  # fmt: skip
TYPED: list[Door] = [python_arrays, infer_npz, batch_npz, batch_parquet]


@pytest.mark.parametrize("door", [*UNTYPED, *TYPED])
def test_no_door_changes_a_value_that_its_port_cannot_hold(door: Door, tmp_path: Path) -> None:
    for name, value, says in WRONG:
        assert says in door({name: value}, tmp_path), (name, value)
        assert f"input '{name}'" in door({name: value}, tmp_path)
    assert not Run.objects.exists()
    assert not BatchJob.objects.exists()


@pytest.mark.parametrize("door", UNTYPED)
def test_no_door_makes_one_kind_of_value_from_another(door: Door, tmp_path: Path) -> None:
    for name, value, says in ONLY_UNTYPED:
        assert says in door({name: value}, tmp_path), (name, value)


def kept(arrays_by_name: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
    return {name: array.ravel().tolist() for name, array in arrays_by_name.items()}


def test_what_a_port_holds_is_kept_to_the_last_bit(model: OnnxModel, tmp_path: Path) -> None:
    expected = {name: list(value) for name, value in RIGHT.items()}
    request = request_for("exact-inputs", RIGHT, {})
    assert kept({t.name: decode_array(t) for t in request.inputs}) == expected
    wider = arrays(RIGHT)
    request = request_for("exact-inputs", wider, {})
    assert kept({t.name: decode_array(t) for t in request.inputs}) == expected
    for inputs, more in itertools.product((RIGHT, entries(RIGHT)), ("", LARGE)):
        answer = post(inputs, more)
        assert answer.status_code == 202, answer.content
        run = Run.objects.get(pk=answer.json()["id"])
        named = [(name, TensorRef.from_json(run.inputs[name])) for name in RIGHT]
        assert kept({t.name: decode_array(t) for t in tensors.fetch(named)}) == expected
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(RIGHT) + "\n")
    job, _ = jobs.create_job(jobs.JobRequest(model=model.name, source=path))
    stored = storage.read_arrays(storage.inputs_path(storage.folder_of(job.pk), 0))
    assert kept(stored) == expected
    given = Given(tensors=(json.dumps(RIGHT) + LARGE).encode())
    tried = prepared(registry.get_model("exact-inputs"), (), given, "somebody")
    assert kept({t.name: decode_array(t) for t in tried.tensors}) == expected
    decoded = decode_request(json.dumps({"inputs": entries(RIGHT)}).encode(), None)
    assert kept({t.name: decode_array(t) for t in decoded.inputs}) == expected


def test_json_has_no_infinity_and_a_number_that_would_be_read_as_one_is_refused(
    tmp_path: Path,
) -> None:
    path, lines = tmp_path / "in.json", tmp_path / "in.jsonl"
    for text in ('{"f32": [1e400, 0]}', '{"f32": [Infinity, 0]}'):
        path.write_text(text)
        lines.write_text(text + "\n")
        assert "JSON has neither NaN nor infinity" in command_line(path)
        assert "JSON has neither NaN nor infinity" in batch(lines)
    content = '{"model": "exact-inputs", "inputs": {"f32": [1e400, 0]}}'
    answer = Client(headers={"host": "localhost"}).post(
        "/api/runs/", content, content_type="application/json"
    )
    assert answer.status_code == 400
    assert "JSON has neither NaN nor infinity" in said(answer)


def test_python_and_npz_may_send_nan_and_infinity(tmp_path: Path) -> None:
    sent = {"f32": [np.nan, np.inf]}
    (tensor,) = request_for("exact-inputs", sent, {}).inputs
    np.testing.assert_array_equal(decode_array(tensor), sent["f32"])
    assert "missing input" in infer_npz(sent, tmp_path), "the values were not what was refused"
