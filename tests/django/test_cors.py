"""Pages of other sites: those whose origin the operator names are let in, no other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.exceptions import ImproperlyConfigured

from inference import auth
from inference.models import ApiKey
from inference.views.cors import for_pages
from tests.support.asgi import Answered, application, ask
from webpool_site.environment import env_origins

APP, OTHER = "https://app.example", "https://other.example"
RUNS, CROSS = "/api/runs/", {"sec-fetch-site": "cross-site"}
ALLOWED, EXPOSED = "access-control-allow-origin", "access-control-expose-headers"


@pytest.fixture
def named(database: None, valkey: Any, settings: LazySettings) -> Any:
    settings.WEBPOOL_CORS_ORIGINS = [APP]
    return for_pages(application, [APP])


def preflight(through: Any, origin: str, path: str = "/v2/models/minilm/infer") -> Answered:
    wanted = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, inference-header-content-length, x-stainless-lang",
    }
    return ask("OPTIONS", path, headers=wanted, through=through)


@pytest.mark.parametrize("path", ["/v2/models/minilm/infer", "/v1/embeddings", RUNS])
def test_a_named_page_is_told_that_it_may_call(named: Any, path: str) -> None:
    told = preflight(named, APP, path)
    assert (told.status, told.headers[ALLOWED]) == (200, APP)
    assert "POST" in told.headers["access-control-allow-methods"]
    assert "x-stainless-lang" in told.headers["access-control-allow-headers"]


def test_no_other_page_is(named: Any) -> None:
    assert ALLOWED not in preflight(named, OTHER).headers
    assert ALLOWED not in preflight(application, APP).headers
    assert ALLOWED not in preflight(named, APP, "/admin/").headers


@pytest.mark.parametrize("path", ["/v2/models/nosuch", "/api/models/nosuch/"])
def test_a_named_page_reads_answers_and_refusals(named: Any, path: str) -> None:
    told = ask("GET", path, headers={"origin": APP, **CROSS}, through=named)
    assert (told.status, told.headers[ALLOWED]) == (404, APP)
    assert "Inference-Header-Content-Length" in told.headers[EXPOSED]
    assert told.json()["category"] == "invalid_input"


def test_a_named_page_writes_on_loopback_and_no_other(named: Any) -> None:
    body = json.dumps({"model": "nosuch", "inputs": {}}).encode()
    kind = {"content-type": "application/json", **CROSS}
    answers = [
        ask("POST", RUNS, body, {**kind, "origin": origin}, through=named).status
        for origin in (APP, OTHER)
    ]
    assert answers == [404, 403]


def test_away_from_loopback_it_needs_a_key(named: Any) -> None:
    body = json.dumps({"model": "nosuch", "inputs": {}}).encode()
    sent = {"content-type": "application/json", "origin": APP, **CROSS}
    _, key = auth.create_key("page")
    with_key = {**sent, "authorization": f"Bearer {key}"}
    try:
        answers = [
            ask("POST", RUNS, body, each, client="10.1.2.3", through=named).status
            for each in (sent, with_key)
        ]
    finally:
        ApiKey.objects.filter(name="page").delete()
    assert answers == [401, 404]


@pytest.mark.parametrize(
    "value",
    [
        "*",
        "app.example",
        "https://app.example/",
        "https://App.example",
        "https://app.example:443",
        "http://app.example:80",
    ],
)
def test_what_names_no_origin_is_refused_at_the_start(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBPOOL_CORS_ORIGINS", value)
    with pytest.raises(ImproperlyConfigured, match="expected origins such as"):
        env_origins("WEBPOOL_CORS_ORIGINS")
