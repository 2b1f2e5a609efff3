"""How much JSON a request may hold: large documents are read like small ones, too many values refused."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from inference.conversion.documents import LARGE_BYTES, LARGE_VALUES
from inference.models import OnnxModel
from tests.support.asgi import ask
from tests.support.hostile import JSON, body_of


@pytest.fixture(scope="module")
def model(asked_model: OnnxModel) -> OnnxModel:
    return asked_model


def test_a_small_packed_body_of_many_values_builds_none_of_them(model: OnnxModel) -> None:
    packed = gzip.compress(b'{"inputs":[' + b"[]," * 10_000_000 + b"[]]}")
    assert len(packed) < 64 * 1024
    headers = {**JSON, "Content-Encoding": "gzip"}
    answered = ask("POST", f"/v2/models/{model.name}/infer", packed, headers)
    assert answered.status == 413
    assert "WEBPOOL_MAX_JSON_MB" in answered.json()["error"]


@pytest.mark.parametrize("path", ["/api/runs/", "/v2/models/{}/infer"])
def test_many_values_are_refused_with_the_way_out(model: OnnxModel, path: str) -> None:
    body = b'{"inputs":[' + b"[]," * 1_000_000 + b"[]]}"
    answered = ask("POST", path.format(model.name), body, JSON)
    assert answered.status == 413
    assert "WEBPOOL_MAX_JSON_VALUES" in answered.json()["error"]
    assert "binary" in answered.json()["error"]


LARGE = b" " * (LARGE_BYTES + 1)  # behind it, a document is built in another process


def test_a_large_body_is_refused_in_the_words_of_a_small_one(model: OnnxModel) -> None:
    right = {"x": [[1, 2, 3, 4]]}
    documents: list[Any] = [
        {"model": "nobody", "inputs": right}, {"inputs": right}, {"model": model.name}, [], "a",
        {"model": model.name, "inputs": {"z": [1], **right}}, {"model": model.name, "inputs": 5},
        {"model": model.name, "inputs": right, "texts": ["a"]}, {"model": model.name, "inputs": [5]},
        {"model": model.name, "inputs": right, "shards": "many"},
        {"model": model.name, "inputs": {"x": [[1, 2, 3]]}},
    ]  # fmt: skip
    for document in documents:
        small, large = (
            ask("POST", "/api/runs/", body_of(document) + more, JSON) for more in (b"", LARGE)
        )
        assert (large.status, large.body) == (small.status, small.body)
        assert large.status in (400, 404)


def test_a_batch_dimension_is_added_to_a_large_input_too(model: OnnxModel) -> None:
    document = {"model": model.name, "inputs": {"x": [1, 2, 3, 4]}}
    for more in (b"", LARGE):
        answered = ask("POST", "/api/runs/", body_of(document) + more, JSON)
        assert answered.status == 202, answered.body
        assert answered.json()["filled_in"] == ["x: batch dimension added"]


def test_every_door_reads_large_documents_and_refuses_them_with_many_values(
    model: OnnxModel,
) -> None:
    many: list[Any] = [[]] * (LARGE_VALUES + 1)
    for path in ("/api/plans/", "/v1/chat/completions", "/v1/embeddings", "/v2/repository/index"):
        small, large = (
            ask("POST", path, body_of({"model": model.name}) + more, JSON) for more in (b"", LARGE)
        )
        assert (large.status, large.body) == (small.status, small.body)
        answered = ask("POST", path, body_of({"model": model.name, "input": many}), JSON)
        assert answered.status == 413, path
        assert "values beside its tensors" in answered.body.decode()


def test_commas_and_brackets_of_text_are_no_values(model: OnnxModel, settings: Any) -> None:
    settings.WEBPOOL_MAX_JSON_VALUES = 50
    document = {"model": model.name, "inputs": {"x": [['[{,\\"[' * 100, 2, 3, 4]]}}
    answered = ask("POST", "/api/runs/", body_of(document), JSON)
    assert answered.status == 400
    assert "expected float32" in answered.json()["error"]
