"""The web server alone, in a process of its own: no worker, no browser, and no store but one in its home."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from browsers.lifeline import dies_with_parent
from tests.support.shared import ROOT, migrated
from tests.support.stack import free_port

REQUEST = b"GET /v2/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@contextlib.contextmanager
def web_server(home: Path, extra_env: Mapping[str, str]) -> Iterator[int]:
    """Its port; its output is in `web.log` of the home."""
    port = free_port()
    if not (home / "db.sqlite3").exists():
        (home / "db.sqlite3").write_bytes(Path(migrated()).read_bytes())
    env = {
        **os.environ, "WEBPOOL_HOME": str(home),
        "DJANGO_SETTINGS_MODULE": "webpool_site.settings", **extra_env,
    }  # fmt: skip
    serve = [sys.executable, "-m", "webpool_site.web", "127.0.0.1", str(port)]
    with (home / "web.log").open("wb") as log:
        process = subprocess.Popen(
            [*dies_with_parent(), *serve], cwd=ROOT, env=env, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 180
        while not answers(port):
            assert process.poll() is None, (home / "web.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=120)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), connected(port) as one:
        one.sendall(REQUEST)
        return one.recv(100).startswith(b"HTTP/1.1 200")
    return False
