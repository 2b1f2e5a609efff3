"""Whose word the web server takes for where a request came from: the operator's proxies' alone."""

from __future__ import annotations

import http.client
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from inference.store.logins import MOST_FOR_NAME
from tests.support.web import web_server
from webpool_site.valkey import EmbeddedValkey

TOKEN = "a" * 32
TOO_MANY = b"too many wrong passwords"


@pytest.fixture
def home() -> Iterator[Path]:
    """A home with a store, in which failures are counted."""
    made = Path(tempfile.mkdtemp(prefix="webpool-forwarded-"))  # its socket's path must be short
    (made / "run").mkdir()
    with EmbeddedValkey(made):
        yield made
    shutil.rmtree(made)


def wrong_login(port: int, forwarded_for: str) -> bytes:
    """The page that answers a wrong password."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        form = {"csrfmiddlewaretoken": TOKEN, "username": "root", "password": "wrong"}
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": f"csrftoken={TOKEN}",
            "X-Forwarded-For": forwarded_for,
        }
        connection.request("POST", "/admin/login/", urlencode(form), headers)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "env", [{}, {"WEBPOOL_ALLOWED_HOSTS": "127.0.0.1", "WEBPOOL_PROXIES": "10.0.0.0/8"}]
)
def test_nobody_else_evades_the_count_of_wrong_passwords(home: Path, env: dict[str, str]) -> None:
    with web_server(home, env) as port:
        for number in range(MOST_FOR_NAME):
            assert TOO_MANY not in wrong_login(port, f"10.0.0.{number}")
        assert TOO_MANY in wrong_login(port, "10.0.1.1")


def test_callers_of_a_proxy_are_told_apart(home: Path) -> None:
    with web_server(home, {"WEBPOOL_ALLOWED_HOSTS": "127.0.0.1"}) as port:
        for _ in range(MOST_FOR_NAME):
            assert TOO_MANY not in wrong_login(port, "10.0.0.1")
        assert TOO_MANY in wrong_login(port, "10.0.0.1")
        assert TOO_MANY not in wrong_login(port, "10.0.0.2")
