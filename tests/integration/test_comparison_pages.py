"""From a file to a shared comparison over every browser, as a person clicks, at a desk and on a phone."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support import small_models
from tests.support.accessibility import violations
from tests.support.doors import send, wait_for
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
        f"User.objects.create_superuser('{NAME}', password='{PHRASE}')"
    )
    stack.manage("shell", "-c", script)
    with visitor(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


class Person:
    """Clicks, and sees that no page is wider than the screen."""

    def __init__(self, page: webdriver.Chrome, width: int) -> None:
        self._page, self._width, self.clicks = page, width, 0
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def open(self, address: str) -> None:
        self._page.get(address)
        self._look()

    def find(self, selector: str) -> WebElement:
        return self._page.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        """Click what another page follows."""
        left = self.find("html")
        target = self.find(selector)
        box = target.rect
        assert box["x"] >= 0, f"{selector} is at {box}"
        assert box["x"] + box["width"] <= self._width, f"{selector} is at {box}"
        target.click()
        self.clicks += 1
        wait_for(lambda: self.find("html").id != left.id)
        self._look()

    def _look(self) -> None:
        wide = self._page.execute_script("return document.documentElement.scrollWidth")
        assert wide <= self._width, f"{self._page.current_url} is {wide} px wide"


def column(page: webdriver.Chrome, name: str) -> list[str]:
    """What stands in one column of the cells, from the first row to the last."""
    found = page.find_elements(By.CSS_SELECTOR, f"#comparison-cells [data-column='{name}']")
    return [cell.text for cell in found]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_person_compares_a_model_and_shares_what_was_found(
    stack: RunningStack, chromium: webdriver.Chrome, tmp_path: Path, width: str
) -> None:
    path = tmp_path / "downloaded.onnx"
    path.write_bytes(small_models.block(seed=21))
    name = f"downloaded-{width}-{time.time_ns()}"
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    person = Person(chromium, WIDTHS[width])

    person.open(f"{stack.url}/admin/login/?next=/admin/inference/onnxmodel/add/")
    person.find("[name=username]").send_keys(NAME)
    person.find("[name=password]").send_keys(PHRASE)
    person.click("#login-form [type=submit]")
    person.find("[name=name]").send_keys(name)
    person.find("[name=file]").send_keys(str(path))
    person.click("[name=_save]")
    model = chromium.find_element(By.LINK_TEXT, name).get_attribute("href")
    person.click(f"a[href^='{re.sub('^https?://[^/]+', '', model or '').partition('?')[0]}']")
    person.click("a[href^='/admin/compare/']")
    for backend in ("webgpu", "webnn"):
        person.find(f"#compare [value={backend}]").click()
    person.find("[name=strategies]").send_keys("none, layer:2")
    runs = person.find("[name=runs]")
    runs.clear()
    runs.send_keys("2")
    person.click("#compare button")

    state = "#comparison-facts .wp-finished"
    wait_for(lambda: chromium.find_elements(By.CSS_SELECTOR, state))
    kinds = {row["id"] for row in stack.browser_rows()}
    states = column(chromium, "state")
    assert len(states) >= 2 * len({kind.partition("-")[0] for kind in kinds})
    assert {state.split("\n")[0] for state in states} == {"measured"}
    assert sum("layer:2" in words for words in column(chromium, "backend")) == len(states) / 2
    assert violations(chromium) == []
    assert person.clicks <= 10

    shared = chromium.find_element(By.LINK_TEXT, "One HTML file").get_attribute("href")
    assert shared
    file = tmp_path / "shared.html"
    answer = send(stack, "GET", shared.removeprefix(stack.url))
    file.write_bytes(answer.body)
    person.open(file.as_uri())
    assert f"How {name} fares in each browser" in person.find("h1").text
    assert column(chromium, "state") == states
    assert violations(chromium) == []
