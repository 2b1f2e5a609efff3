"""/v1/ below HTTP: who may, what is there, errors as OpenAI writes them. No browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator

from browsers.redis import client
from inference.auth import create_key
from inference.models import ApiKey, OnnxModel
from inference.wire.openai.described import ERROR, PATHS
from inference.wire.openai.fields import Endpoint
from tests.support.asgi import Answered, ask
from tests.support.batches import chain_model
from tests.support.embedding import embedder

pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture
def clean(database: None, valkey: Any) -> Iterator[None]:
    client().flushall()
    yield
    OnnxModel.objects.all().delete()
    ApiKey.objects.all().delete()


def test_the_published_paths_are_served(tmp_path: Path) -> None:
    """What /api/schema/ says of /v1/: each of its paths answers there, and refuses as it is said."""
    embedder(tmp_path)
    refusal = Draft4Validator(ERROR["content"]["application/json"]["schema"])
    for path, operations in PATHS.items():
        for method in operations:
            at = path.replace("{name}", "embedder")
            answered = ask(method.upper(), at, b"{}")
            if method == "post":
                assert answered.status == 400, at
                said = answered.json()
                said["error"]["param"] = said["error"]["param"] or ""  # null is OpenAPI's own word
                refusal.validate(said)
            else:
                told = operations[method]["responses"]["200"]["content"]["application/json"][
                    "schema"
                ]
                Draft4Validator(told).validate(answered.json())
    assert {one.value for one in Endpoint} | {"/v1/models", "/v1/models/{name}"} == PATHS.keys()


def post(path: str, document: Any, **headers: str) -> Answered:
    return ask("POST", path, json.dumps(document).encode(), headers)


def refused(answer: Answered, status: int) -> Any:
    assert answer.status == status, answer.body
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


def test_the_models_that_can_be_used_are_listed(tmp_path: Path) -> None:
    embedder(tmp_path)
    chain_model(tmp_path, "chain")
    listed = ask("GET", "/v1/models").json()
    assert listed["object"] == "list"
    assert [(one["id"], one["object"]) for one in listed["data"]] == [("embedder", "model")]
    assert ask("GET", "/v1/models/embedder").json() == listed["data"][0]
    for name in ("chain", "nothing"):
        error = refused(ask("GET", f"/v1/models/{name}"), 404)
        assert (error["param"], error["code"]) == ("model", "model_not_found")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "invalid_input"),
        ("GET", "/v1", 404, "invalid_input"),
        ("GET", "/v1/embeddings", 405, "invalid_input"),
        ("POST", "/v1/models", 405, "invalid_input"),
        ("POST", "/v1/audio/speech", 404, "not_implemented"),
        ("GET", "/v1/responses/7", 404, "not_implemented"),
        ("GET", "/v1/models/a\0b", 400, "invalid_input"),
    ],
)
def test_what_is_not_there_is_refused_in_openai_s_form(
    method: str, path: str, status: int, code: str
) -> None:
    assert refused(ask(method, path), status)["code"] == code


def test_a_key_is_asked_for_away_from_loopback() -> None:
    body = b'{"model": "m", "input": "a"}'
    error = refused(ask("POST", "/v1/embeddings", body, client="10.1.2.3"), 401)
    assert error["code"] == "invalid_api_key"
    _, key = create_key("theirs", requests_per_minute=1)
    headers = {"Authorization": f"Bearer {key}"}
    assert ask("GET", "/v1/models", b"", headers, client="10.1.2.3").status == 200
    busy = ask("GET", "/v1/models", b"", headers, client="10.1.2.3")
    assert refused(busy, 429)["type"] == "rate_limit_error"
    assert int(busy.headers["retry-after"]) >= 1
    foreign = {"Origin": "https://elsewhere.example"}
    assert refused(post("/v1/embeddings", {}, **foreign), 403)["type"] == "permission_error"


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"model": NaN}'])
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    refused(ask("POST", "/v1/embeddings", body), 400)


def test_embeddings_that_cannot_be_are_refused_before_a_run(tmp_path: Path) -> None:
    embedder(tmp_path)
    chain_model(tmp_path, "chain")

    def error(status: int = 400, **fields: Any) -> Any:
        return refused(
            post("/v1/embeddings", {"model": "embedder", "input": "a", **fields}), status
        )

    assert error(404, model="nothing")["code"] == "model_not_found"
    assert error(model="chain")["code"] == "model_not_supported"
    assert error(dimensions=4)["param"] == "dimensions"
    long = error(input=["a", "a b c a b c"])
    assert (long["param"], long["code"]) == ("input", "context_length_exceeded")
    assert "input[1]" in long["message"]
    # A request that could be is refused for want of a browser.
    assert error(503, dimensions=3)["type"] == "server_error"
