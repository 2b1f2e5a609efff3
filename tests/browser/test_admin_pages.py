"""The admin's pictures and its live page, as a real Chromium draws them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By

from browsers.state import breakers
from history.models import BrowserRecommendation, CapabilityScore, Regression
from inference.models import ModelType, OnnxModel, Run, RunState
from inference.scheduling.pool_view import snapshot
from tests.support.ledger import publish

pytestmark = pytest.mark.django_db(transaction=True)
KINDS = ("chromium", "firefox", "webkitgtk")


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


def until(true: Callable[[], bool]) -> None:
    """Wait; a cell that is exchanged while it is read is read again."""
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(StaleElementReferenceException):
            if true():
                return
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.1)
