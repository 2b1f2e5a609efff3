"""A WebDriver server that is not webpool's own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from browsers.drivers import Missing, get_driver
from tests.support.pages import Page, pages


@pytest.fixture
def remote_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a chromedriver that somebody else started; it finds its browser by itself."""
    found = get_driver("chromium").find()
    if isinstance(found, Missing):
        pytest.skip(f"chromium: {found.reason}; {found.remedy}")
    home = tmp_path_factory.mktemp("elsewhere")
    log = home / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [str(found.driver_path), "--port=0"],
            stdout=output,
            stderr=output,
            env=os.environ | {"HOME": str(home), "TMPDIR": str(home)},
        )
    try:
        yield f"http://127.0.0.1:{_port(log)}"
    finally:
        server.kill()
        server.wait()


def _port(log: Path) -> str:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        port, dot, _ = log.read_text().partition("successfully on port ")[2].partition(".")
        if dot:
            return port
        time.sleep(0.05)
    pytest.fail(f"the driver did not say its port: {log.read_text()}")


@pytest.fixture
def page() -> Iterator[Page]:
    with pages() as served:
        yield served
