"""The admin's pictures and its live page, as a real Chromium draws them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By

from browsers.models import Browser, BrowserState
from browsers.redis import client
from browsers.state import breakers
from history import recording
from history.models import BrowserRecommendation, CapabilityScore, Regression
from history.recompute import recompute
from inference.catalog import registry
from inference.core.comparisons.cells import CellState
from inference.models import ComparisonCell, ModelType, OnnxModel, Run, RunState
from inference.scheduling.pool_view import snapshot
from tests.support import decoders
from tests.support.accessibility import violations
from tests.support.comparisons import comparison_row
from tests.support.history import sample, series
from tests.support.ledger import make_run, publish
from tests.support.visitor import visitor

pytestmark = pytest.mark.django_db(transaction=True)
KINDS = ("chromium", "firefox", "webkitgtk")


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
    for kind in KINDS:
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


def count(page: webdriver.Chrome, selector: str) -> int:
    return len(page.find_elements(By.CSS_SELECTOR, selector))


def words(page: webdriver.Chrome, selector: str) -> str:
    return " ".join(one.text for one in page.find_elements(By.CSS_SELECTOR, selector))


def titles(page: webdriver.Chrome, selector: str) -> list[str]:
    found = f"return [...document.querySelectorAll('{selector} title')].map(t => t.textContent)"
    told: list[str] = page.execute_script(found)
    return told


def boxes(page: webdriver.Chrome, selector: str) -> list[dict[str, float]]:
    """Where marks really are on the screen."""
    found = (
        f"return [...document.querySelectorAll('{selector}')].map(m => m.getBoundingClientRect())"
    )
    drawn: list[dict[str, float]] = page.execute_script(found)
    return drawn


def test_latency_shows_every_point_the_change_and_the_anomaly(visit: Any, model: OnnxModel) -> None:
    page = visit(f"/admin/pictures/latency/?model={model.name}")
    assert count(page, "#latency-0 .hp-point") == 61 + 60 + 3
    assert any(
        title.startswith("anomaly: 400 ms") for title in titles(page, "#latency-0 .hp-anomaly")
    )
    changes = titles(page, "#latency-0 line.hp-change")
    assert len(changes) == 1
    assert 1.4 < float(changes[0].split()[1].rstrip(",")) < 1.6
    strips = words(page, "#latency-0 .hp-name")
    assert "chromium/wasm · n = 61" in strips
    assert "webkitgtk/wasm · n = 3" in strips
    assert "not known" in strips
    # Later is to the right, slower is higher: drawn, not only written.
    points = boxes(page, "#latency-0 .hp-point")
    first, last = points[0], points[60]
    assert first["x"] < last["x"]
    assert first["y"] > last["y"]


def test_browsers_are_compared_with_intervals_and_unknown_is_unknown(
    visit: Any, model: OnnxModel
) -> None:
    page = visit(f"/admin/pictures/latency/?model={model.name}")
    assert count(page, "#comparison-0 .hp-middle") == 2
    assert count(page, "#comparison-0 .hp-unknown") == 1
    said = words(page, "#comparison-0 .hp-text")
    for part in ("chromium/wasm · n = 61", "fastest", "slower: ×", "p < 0.001", "too few samples"):
        assert part in said
    fastest, slower = boxes(page, "#comparison-0 .hp-middle")
    assert fastest["x"] < slower["x"]
    assert max(box["width"] for box in boxes(page, "#comparison-0 line.hp-interval")) > 1


def test_the_heat_map_has_a_cell_for_every_browser_and_type_and_no_bare_score(visit: Any) -> None:
    page = visit("/admin/pictures/scores/")
    scores = list(CapabilityScore.objects.all())
    assert {one.browser for one in scores} >= {"chromium", "firefox"}
    assert count(page, "#scores .hp-cell") == len(KINDS) * len(ModelType.values)
    assert count(page, "#scores .hp-score") == len(scores)
    unknown = len(KINDS) * len(ModelType.values) - len(scores)
    assert count(page, "#scores .hp-cell-unknown") == unknown
    said = words(page, "#scores .hp-cell-text")
    for one in scores:
        assert f"{one.low:.0f}–{one.high:.0f} · n = {one.sample_size}" in said
        assert f"{one.timestamp:%d %b %H:%M}" in said


def test_a_recommendation_shows_its_evidence(visit: Any, model: OnnxModel) -> None:
    row = BrowserRecommendation.objects.get(model_name=model.name)
    page = visit("/admin/pictures/scores/")
    said = words(page, f"#recommendation-{row.pk}")
    for part in ("chromium/wasm", f"n = {row.sample_size}", "measurements of this very model"):
        assert part in said
    shown = count(page, f"#evidence-{row.pk} .hp-middle, #evidence-{row.pk} .hp-unknown")
    assert shown == len(row.config["evidence"]) >= 2
    assert "succeeded" in words(page, f"#evidence-{row.pk} .hp-text")


def test_regressions_are_open_or_closed(visit: Any) -> None:
    row = Regression.objects.get()
    page = visit("/admin/pictures/regressions/")
    assert count(page, "#open [data-regression]") == 1
    assert count(page, "#closed [data-regression]") == 0
    assert "156 → 157" in words(page, "#open [data-regression]")
    row.closed_at, row.closed_by = row.opened_at, "158"
    row.save()
    page = visit("/admin/pictures/regressions/")
    assert count(page, "#open [data-regression]") == 0
    assert "158" in words(page, "#closed [data-regression]")


def test_an_empty_history_draws_nothing_and_says_so(
    visit: Any, model: OnnxModel, tmp_path: Path, settings: Any
) -> None:
    settings.WEBPOOL_HISTORY_PATH = tmp_path / "another" / "history.duckdb"
    CapabilityScore.objects.all().delete()
    BrowserRecommendation.objects.all().delete()
    page = visit("/admin/pictures/scores/")
    assert "nothing is known yet" in words(page, "#nothing")
    assert count(page, ".hp-score") == 0
    page = visit(f"/admin/pictures/latency/?model={model.name}")
    assert "nothing is known" in words(page, "#nothing")
    assert count(page, "svg.hp-picture") == 0


def test_the_live_page_renews_itself_and_its_buttons_work(visit: Any) -> None:
    page = visit("/admin/pool/")
    assert "500 MB of" in words(page, "#b-firefox-memory")
    button = "document.querySelector('[data-browser=firefox] button')"
    page.execute_script(f"{button}.mark = 'same'")
    publish("firefox", memory_mb=750.0)
    until(lambda: "750 MB of" in words(page, "#b-firefox-memory"))
    marked = page.execute_script(f"return {button}.mark")
    assert marked == "same", "buttons are not exchanged under somebody's finger"
    breakers.crashed("firefox")
    until(lambda: words(page, "#b-firefox-breaker").startswith("open"))
    page.find_element(By.CSS_SELECTOR, "[data-browser=firefox] button[value=reset]").click()
    until(lambda: words(page, "#b-firefox-breaker") == "closed")
    page.find_element(By.CSS_SELECTOR, "[data-browser=firefox] button[value=drain]").click()
    until(lambda: "firefox takes no new shards" in words(page, "body"))
    assert {view.id: view.state for view in snapshot()}["firefox"] == "draining"
    until(lambda: words(page, "#b-firefox-state").startswith("draining"))


def offline(page: webdriver.Chrome, gone: bool) -> None:
    page.execute_cdp_cmd("Network.enable", {})
    conditions = {
        "offline": gone,
        "latency": 0,
        "downloadThroughput": -1,
        "uploadThroughput": -1,
    }
    page.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)


def test_without_news_from_the_server_nothing_looks_like_now(visit: Any) -> None:
    page = visit("/admin/")
    until(lambda: words(page, "#b-firefox-state") == "ready")
    assert words(page, "#live-old") == ""
    offline(page, True)
    until(lambda: words(page, "#live-old").startswith("No news since"))
    assert count(page, "#pool.wp-old") == 1
    assert words(page, "#live-age") == ""
    publish("firefox", state="recovering")
    offline(page, False)
    until(lambda: words(page, "#live-old") == "" and count(page, "#pool.wp-old") == 0)
    until(lambda: words(page, "#b-firefox-state") == "recovering")
    page.get_log("browser")  # that the server was gone is no mistake of the page


def test_that_nobody_takes_work_is_seen_without_a_reload(visit: Any) -> None:
    page = visit("/admin/pool/")
    assert words(page, "#pool-banner") == ""
    for kind in KINDS:
        publish(kind, state="recovering")
    until(lambda: words(page, "#pool-banner").startswith("No browser takes work (3 recovering)"))
    publish("firefox")
    until(lambda: words(page, "#pool-banner") == "")


def test_a_page_that_does_not_renew_itself_says_so_in_time(visit: Any) -> None:
    page = visit("/admin/browsers/browser/")
    assert "does not renew itself" in words(page, "#page-age")
    until(lambda: "reload the page" in words(page, "#page-age"))
    assert count(page, "#content-main.wp-old") == 1


def test_a_running_run_is_followed_to_its_end(visit: Any, model: OnnxModel) -> None:
    run = Run.objects.get(model=model)
    page = visit(f"/admin/inference/run/{run.pk}/change/")
    assert "running" in words(page, "#run-facts")
    Run.objects.filter(pk=run.pk).update(
        state=RunState.FAILED, error="it was too late", error_category="timeout"
    )
    until(lambda: "timeout: it was too late" in words(page, "#run-error"))
    assert "failed" in words(page, "#run-facts")


def test_main_pages_fit_a_phone_and_can_be_read_by_all(
    visit: Any, model: OnnxModel, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = Run.objects.get(model=model)
    files = decoders.write(tmp_path)
    registry.add_model(files.onnx, name="writer", tokenizer=files.tokenizer)
    picture = make_run().model
    port = {"name": "pixels", "dtype": "float32", "shape": ["batch", 3, 224, 224]}
    OnnxModel.objects.filter(pk=picture.pk).update(inputs=[port])
    comparison = comparison_row(model, owner="viewer")
    ComparisonCell.objects.update(
        state=CellState.FAILED,
        reason="no kernel for MatMul: " + 60 * "long",
        samples=[1.0, 2.0, 3.0],
    )
    small = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page = visit("about:blank", local=False)
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", small)
    request.addfinalizer(lambda: page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {}))
    wrong: list[str] = []
    for path in (
        "/",
        "/admin/",
        "/admin/pool/",
        f"/admin/pictures/latency/?model={model.name}",
        "/admin/pictures/scores/",
        "/admin/pictures/regressions/",
        "/admin/browsers/browser/",
        "/admin/inference/run/",
        f"/admin/inference/run/{run.pk}/change/",
        f"/admin/inference/onnxmodel/{model.pk}/change/",
        "/admin/inference/auditentry/",
        f"/admin/compare/{model.name}/",
        "/admin/chat/",
        f"/admin/try/{model.name}/",
        f"/admin/try/{picture.name}/",
        f"/admin/inference/comparison/{comparison.pk}/change/",
        f"/api/comparisons/{comparison.pk}/?format=html",
    ):
        visit(path)
        wide = page.execute_script("return document.documentElement.scrollWidth")
        wrong += [f"{path} is {wide} px wide"] if wide > 390 else []
        wrong += [
            f"{path}: a button is at {box}"
            for box in boxes(page, "[data-browser] button")
            if box["x"] < 0 or box["x"] + box["width"] > 390 or box["height"] < 24
        ]
        wrong += [f"{path}: {one}" for one in violations(page)]
        page.execute_script("document.documentElement.classList.add('dark')")
        wrong += [f"{path}, dark: {one}" for one in violations(page, rules=["color-contrast"])]
    assert wrong == [], "\n".join(wrong)


def until(true: Callable[[], bool]) -> None:
    """Wait; a cell that is exchanged while it is read is read again."""
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(StaleElementReferenceException):
            if true():
                return
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.1)
