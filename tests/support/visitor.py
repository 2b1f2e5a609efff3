"""A Chromium that a person would have: it looks at pages of the server, and is none of the pool's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from browsers.drivers import Missing, get_driver

_FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1000")


@contextlib.contextmanager
def visitor(profile: Path) -> Iterator[webdriver.Chrome]:
    """It keeps what stands in its console."""
    found = get_driver("chromium").find()
    if isinstance(found, Missing):
        found = get_driver("chromium-npm").find()
    assert not isinstance(found, Missing), f"{found.reason}; {found.remedy}"
    options = webdriver.ChromeOptions()
    options.binary_location = str(found.browser_path)
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service(str(found.driver_path), service_args=["--disable-build-check"])
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()
