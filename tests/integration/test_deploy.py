"""The web server as it faces a network: WEBPOOL_PRODUCTION=1, behind a proxy that ends TLS, Redis down."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.stack import ROOT, RunningStack

HTTPS = {"X-Forwarded-Proto": "https"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """The web server alone, with one browser's row: no Redis, no worker."""
    running = RunningStack(
        Path(tmp_path_factory.mktemp("site")), extra_env={"WEBPOOL_PRODUCTION": "1"}
    )
    running.migrate()
    row = "id='chromium', kind='chromium', family='chrome', state='ready'"
    running.manage(
        "shell", "-c", f"from browsers.models import Browser; Browser.objects.create({row})"
    )
    with (running.home / "web.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "webpool_site.asgi:application",
             "--port", str(running.port), "--lifespan", "off"],
            cwd=ROOT, env=running.env, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        _wait_until_it_answers(running)
        yield running
    finally:
        server.terminate()
        server.wait(30)


def _wait_until_it_answers(site: RunningStack) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            send(site, "GET", "/v2/health/live")
            return
        except OSError:
            assert time.monotonic() < deadline, (site.home / "web.log").read_text()
            time.sleep(0.1)


def send(
    site: RunningStack,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: str | None = None,
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_djangos_deployment_check_finds_nothing(tmp_path: Path) -> None:
    fresh = RunningStack(tmp_path / "home", extra_env={"WEBPOOL_PRODUCTION": "1"})
    done = fresh.manage("check", "--deploy", "--fail-level", "WARNING")
    assert "no issues (0 silenced)" in done.stdout
    assert not done.stderr


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path", ["/v2/health/live", "/v2/models/minilm/infer?a=b", "/api/runs/", "/admin/login/"]
)
def test_plain_http_is_sent_to_https(site: RunningStack, method: str, path: str) -> None:
    response, _ = send(site, method, path)
    assert response.status == 301
    assert response.headers["Location"] == f"https://127.0.0.1:{site.port}{path}"


def test_a_foreign_host_is_not_where_callers_are_sent(site: RunningStack) -> None:
    response, body = send(site, "GET", "/v2", {"Host": "evil.example"})
    assert response.status == 400, body
    assert b"WEBPOOL_ALLOWED_HOSTS" in body


def test_behind_the_proxy_it_answers_whom_it_knows(site: RunningStack) -> None:
    response, _ = send(site, "GET", "/v2/health/live", HTTPS)
    assert response.status == 200
    for path in ("/v2", "/api/models/", "/metrics"):
        response, _ = send(site, "GET", path, HTTPS)
        assert response.status == 401, path
    response, _ = send(site, "GET", "/v2", {**HTTPS, **_bearer(site)})
    assert response.status == 200


def test_without_redis_nobody_knows_who_lives(site: RunningStack) -> None:
    response, body = send(site, "GET", "/api/browsers/", {**HTTPS, **_bearer(site)})
    assert response.status == 200, body
    (row,) = json.loads(body)["results"]
    assert (row["live"], row["live_unknown"]) == (None, True)

    cookies = _log_in(site)
    for page in ("", "browsers/browser/", "browsers/browser/chromium/change/"):
        response, body = send(site, "GET", f"/admin/{page}", {**HTTPS, "Cookie": cookies})
        assert response.status == 200, page
        assert b"unknown (Redis does not answer)" in body, page
        assert b"lease has ended" not in body, page


def _bearer(site: RunningStack) -> dict[str, str]:
    made = site.manage("create_api_key", f"k{time.time_ns()}", "--json").stdout
    key: Any = json.loads(made)["key"]
    return {"Authorization": f"Bearer {key}"}


def _log_in(site: RunningStack) -> str:
    """A new administrator's session, as a Cookie header."""
    script = (
        "from django.contrib.auth.models import User; from django.test import Client;"
        "c = Client(); c.force_login(User.objects.create_superuser('root'));"
        "print('session', c.cookies['sessionid'].value)"
    )
    found = re.search(r"session (\S+)", site.manage("shell", "-c", script).stdout)
    assert found
    return f"sessionid={found[1]}"
