"""From a file to a shared comparison over every browser, as a person clicks, at a desk and on a phone."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from tests.support import small_models
from tests.support.accessibility import violations
from tests.support.doors import wait_for
from tests.support.stack import RunningStack
from tests.support.visitor import visitor

WIDTHS = {"desk": 1400, "phone": 390}
NAME, PHRASE = "comparer", "long enough a phrase"


@pytest.fixture(scope="module")
def chromium(
    stack: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[webdriver.Chrome]:
    """Somebody's own browser, logged in nowhere."""
    script = (
        "from django.contrib.auth.models import User;"
        f"User.objects.filter(username='{NAME}').delete();"
        f"User.objects.create_superuser('{NAME}', password='{PHRASE}')"
    )
    stack.manage("shell", "-c", script)
    with visitor(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


class Person:
    """Clicks, each of which counts, and sees that no page is wider than the screen."""

    def __init__(self, page: webdriver.Chrome, width: int) -> None:
        self._page, self._width, self.clicks = page, width, 0
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def open(self, address: str) -> None:
        self._page.get(address)
        self._look()

    def find(self, selector: str) -> WebElement:
        return self._page.find_element(By.CSS_SELECTOR, selector)

    def write(self, selector: str, words: str) -> None:
        field = self.find(selector)
        field.clear()
        field.send_keys(words)

    def choose(self, selector: str, file: Path) -> None:
        """Choose a file: two clicks, one for the window and one in it."""
        self.find(selector).send_keys(str(file))
        self.clicks += 2

    def press(self, selector: str) -> None:
        """Click what changes nothing but itself."""
        target = self.find(selector)
        box = target.rect
        assert box["x"] >= 0, f"{selector} is at {box}"
        assert box["x"] + box["width"] <= self._width, f"{selector} is at {box}"
        target.click()
        self.clicks += 1

    def follow(self, selector: str) -> None:
        """Click what another page follows."""
        left = self.find("html")
        self.press(selector)
        wait_for(lambda: self.find("html").id != left.id)
        self._look()

    def _look(self) -> None:
        wide = self._page.execute_script("return document.documentElement.scrollWidth")
        assert wide <= self._width, f"{self._page.current_url} is {wide} px wide"


def log_in(person: Person, stack: RunningStack, then: str) -> None:
    person.open(f"{stack.url}/admin/login/?next={then}")
    person.write("[name=username]", NAME)
    person.write("[name=password]", PHRASE)
    person.follow("#login-form [type=submit]")


def column(page: webdriver.Chrome, name: str) -> list[str]:
    """What stands in one column of the cells, from the first row to the last."""
    found = page.find_elements(By.CSS_SELECTOR, f"#comparison-cells [data-column='{name}']")
    return [cell.text for cell in found]


def seconds(interval: str) -> int:
    """Of `every 3600 seconds`; -1: of none."""
    found = re.search(r"\d+", interval)
    return int(found[0]) if found else -1


@pytest.mark.parametrize("width", WIDTHS)
def test_a_person_compares_a_model_and_shares_what_was_found(
    stack: RunningStack, chromium: webdriver.Chrome, tmp_path: Path, width: str
) -> None:
    path = tmp_path / "downloaded.onnx"
    path.write_bytes(small_models.block(seed=21))
    name = f"downloaded-{width}-{time.time_ns()}"
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    person = Person(chromium, WIDTHS[width])

    log_in(person, stack, "/admin/inference/onnxmodel/add/")
    person.write("[name=name]", name)
    person.choose("[name=file]", path)
    person.follow("[name=_save]")
    model = chromium.find_element(By.LINK_TEXT, name).get_attribute("href")
    person.follow(f"a[href^='{re.sub('^https?://[^/]+', '', model or '').partition('?')[0]}']")
    person.follow("a[href^='/admin/compare/']")
    for backend in ("webgpu", "webnn"):
        person.press(f"#compare [value={backend}]")
    person.write("[name=strategies]", "none, layer:2")
    person.write("[name=runs]", "2")
    person.follow("#compare button")

    wait_for(lambda: chromium.find_elements(By.CSS_SELECTOR, "#comparison-facts .wp-finished"))
    told = column(chromium, "browser"), column(chromium, "backend"), column(chromium, "state")
    browsers = [words.split("\n")[0] for words in told[0]]
    assert sorted(browsers) == sorted(2 * [row["id"] for row in stack.browser_rows()])
    assert {words.split("\n")[0] for words in told[2]} == {"measured"}
    assert sum("layer:2" in words for words in told[1]) == len(browsers) / 2
    assert violations(chromium) == []

    folder = {"behavior": "allow", "downloadPath": str(tmp_path)}
    chromium.execute_cdp_cmd("Browser.setDownloadBehavior", folder)
    person.press("a[download$='.html']")
    (shared,) = wait_for(lambda: list(tmp_path.glob("*.html")))
    assert person.clicks <= 10
    person.open(shared.as_uri())
    assert f"How {name} fares in each browser" in person.find("h1").text
    assert (
        column(chromium, "browser"),
        column(chromium, "backend"),
        column(chromium, "state"),
    ) == told
    assert violations(chromium) == []


def test_a_person_has_a_model_compared_by_schedule(
    stack: RunningStack, chromium: webdriver.Chrome, tmp_path: Path
) -> None:
    path = tmp_path / "nightly.onnx"
    path.write_bytes(small_models.block(seed=22))
    name = f"nightly-{time.time_ns()}"
    stack.manage("add_model", str(path), "--name", name)
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    person = Person(chromium, WIDTHS["desk"])

    log_in(person, stack, "/admin/django_celery_beat/periodictask/add/")
    person.write("[name=name]", f"compare {name}")
    Select(person.find("[name=regtask]")).select_by_value("inference.tasks.compare_model")
    every = Select(person.find("[name=interval]"))
    every.select_by_visible_text(max((one.text for one in every.options), key=seconds))
    words = {"model": name, "backends": ["wasm"], "browsers": ["firefox"], "runs": 2}
    script = "document.querySelector('[name=kwargs]').value = arguments[0]"  # it is folded
    chromium.execute_script(script, json.dumps(words))
    person.follow("[name=_save]")

    def scheduled() -> list[dict[str, Any]]:
        rows = stack.get("/api/comparisons/?limit=100")["results"]
        ended = [row for row in rows if row["model"] == name and row["state"] == "finished"]
        return [stack.get(f"/api/comparisons/{row['id']}/") for row in ended]

    person.open(f"{stack.url}/admin/django_celery_beat/periodictask/?q={name}")
    chosen = chromium.find_element(By.CSS_SELECTOR, "[name=_selected_action]")
    chromium.execute_script("arguments[0].click()", chosen)
    Select(person.find("select[name=action]")).select_by_value("run_tasks")
    person.follow("[name=index]")
    (told,) = wait_for(scheduled)
    assert told["scheduled"] is True
    assert [cell["state"] for cell in told["cells"]] == ["measured"]
