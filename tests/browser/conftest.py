"""A WebDriver server that is not webpool's own, and an operator's browser with something to look at."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from selenium import webdriver

from browsers.drivers import Missing, get_driver
from browsers.models import Browser, BrowserState
from browsers.redis import client
from history import recording
from history.recompute import recompute
from inference.models import OnnxModel
from tests.support.history import sample, series
from tests.support.ledger import make_run, publish
from tests.support.pages import Page, pages
from tests.support.visitor import visitor


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


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with visitor(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def model(valkey: Any, tmp_path: Path, settings: Any) -> Iterator[OnnxModel]:
    """A history with known truth, really learned from, and three living browsers.

    chromium: about 20 ms with one spike, and 30 ms from build 157 on. firefox: about 40 ms. webkitgtk: three
    samples only.
    """
    settings.WEBPOOL_HISTORY_PATH = tmp_path / "history.duckdb"
    settings.WEBPOOL_LEASE_S = 120.0
    client().flushall()
    run = make_run(shards=1)
    OnnxModel.objects.filter(pk=run.model_id).update(model_type="text")  # as the samples say
    name = run.model.name
    spike = sample(model_name=name, latency_ms=400.0, browser_version="156", timestamp=_ago(150))
    recording.put(
        [
            *series(20.0, seed=1, minutes_ago=180, browser_version="156", model_name=name),
            spike,
            *series(30.0, seed=2, minutes_ago=90, browser_version="157", model_name=name),
            *series(40.0, seed=3, count=60, browser="firefox", model_name=name),
            *series(40.0, seed=4, count=3, browser="webkitgtk", model_name=name),
        ]
    )
    recording.take_over(lambda source, mark: ())
    recompute()
    for kind in ("chromium", "firefox", "webkitgtk"):
        Browser.objects.create(
            id=kind, kind=kind, family=kind, state=BrowserState.READY, memory_limit_mb=1000.0
        )
        publish(kind, memory_mb=500.0)
    yield run.model
    client().flushall()


def _ago(minutes: float) -> datetime:
    return datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=minutes)


@pytest.fixture
def visit(
    chromium: webdriver.Chrome, live_server: Any, model: OnnxModel
) -> Iterator[Callable[[str], webdriver.Chrome]]:
    """Open a page as a logged-in operator; at the end nothing may stand in the console."""
    login = Client()
    login.force_login(get_user_model().objects.create_superuser("viewer", password="x"))
    chromium.get(f"{live_server.url}/static/inference/pool.css")
    chromium.add_cookie({"name": "sessionid", "value": login.cookies["sessionid"].value})

    def open_page(path: str, *, local: bool = True) -> webdriver.Chrome:
        chromium.get(live_server.url + path if local else path)
        return chromium

    yield open_page
    errors = [
        entry
        for entry in chromium.get_log("browser")
        if entry["level"] == "SEVERE" and "favicon.ico" not in entry["message"]
    ]
    chromium.get("about:blank")
    assert errors == []
