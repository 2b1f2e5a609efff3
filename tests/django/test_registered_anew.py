"""A name that stands for another model than a moment ago: each door and each way asks the new one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from browsers.redis import client
from inference.catalog import plans, registry, uploads
from inference.client.requests import request_for
from inference.errors import InvalidRequest, UnknownModel
from inference.models import OnnxModel, Run
from inference.runs import creation
from inference.runs.requests import RunRequest
from inference.store.tensors import encode_array
from tests.support.ledger import publish


def register(folder: Path, name: str, port: str) -> OnnxModel:
    """y = relu(PORT), rows apart."""
    ends = [
        helper.make_tensor_value_info(each, TensorProto.FLOAT, ["n", 4]) for each in (port, "y")
    ]
    graph = helper.make_graph([helper.make_node("Relu", [port], ["y"])], "g", ends[:1], ends[1:])
    path = folder / f"{port}.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return registry.add_model(path, name=name)


@pytest.fixture
def name(database: None, valkey: Any, tmp_path: Path) -> Iterator[str]:
    """Of a model that takes x, which this process remembers, and that was registered anew: it takes z."""
    client().flushall()
    for browser in ("a", "b"):
        publish(browser)
    plans.clear_cache()
    made = f"anew-{uuid.uuid4().hex[:6]}"
    before = register(tmp_path, made, "x")
    first = creation.create_run(request(made, "x"))
    Run.objects.filter(pk=first.pk).delete()
    uploads.remove_model(before)
    register(tmp_path, made, "z")
    yield made
    Run.objects.all().delete()
    OnnxModel.objects.all().delete()
    client().flushall()


def request(name: str, port: str, **more: Any) -> RunRequest:
    tensor = encode_array(port, np.ones((4, 4), np.float32))
    return RunRequest(model=name, inputs=[tensor], owner="test", **more)


def test_its_own_inputs_are_taken(name: str) -> None:
    assert list(creation.create_run(request(name, "z")).inputs) == ["z"]


def test_those_of_the_one_before_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="unknown input 'x'; expected 'z'"):
        creation.create_run(request(name, "x"))


def test_a_way_that_was_not_asked_for_before_is_cut(name: str) -> None:
    run = creation.create_run(request(name, "z", strategy="data", shards=2))
    assert run.model == OnnxModel.objects.get(name=name)


def test_from_python_too(name: str) -> None:
    made = request_for(name, {"z": [[1, 2, 3, 4]]}, {})
    assert [tensor.name for tensor in made.inputs] == ["z"]


def test_one_that_is_gone_is_unknown(name: str) -> None:
    creation.create_run(request(name, "z"))
    Run.objects.all().delete()
    uploads.remove_model(OnnxModel.objects.get(name=name))
    for more in ({}, {"strategy": "data", "shards": 4}):
        with pytest.raises(UnknownModel):
            creation.create_run(request(name, "z", **more))
