"""The kind `remote`: whatever browser a WebDriver server gives (Selenium Grid, a driver that listens)."""

from __future__ import annotations

import dataclasses
import json
import os
import urllib.request
from dataclasses import dataclass
from typing import Any

from selenium.webdriver.chrome.options import Options as ChromeOptions
from selenium.webdriver.common.options import BaseOptions
from selenium.webdriver.edge.options import Options as EdgeOptions
from selenium.webdriver.safari.options import Options as SafariOptions

from browsers.drivers.chromium import common_flags, fill
from browsers.drivers.client import is_loopback
from browsers.drivers.firefox import firefox_options
from browsers.drivers.installation import Installation, LaunchOptions, Missing
from browsers.drivers.launch.launched import LaunchedBrowser
from browsers.drivers.remote_session import REMEDY, URL_VARIABLE, launch_remote

_STATUS_TIMEOUT_S = 3.0


def _status(url: str) -> dict[str, Any]:
    """The answer of the server's /status. OSError or ValueError when there is none."""
    handlers = [urllib.request.ProxyHandler({})] if is_loopback(url) else []
    opener = urllib.request.build_opener(*handlers)
    with opener.open(f"{url.rstrip('/')}/status", timeout=_STATUS_TIMEOUT_S) as answer:
        value = json.load(answer)["value"]
    if not isinstance(value, dict):
        raise ValueError(f"expected an object under `value`, got {type(value).__name__}")
    return value


@dataclass(frozen=True)
class RemoteDriver:
    """Whatever browser a WebDriver server gives; its family is known once it is launched."""

    url: str | None = None

    @property
    def kind(self) -> str:
        return "remote"

    @property
    def family(self) -> str:
        return "remote"

    def _url(self) -> str | None:
        return self.url or os.environ.get(URL_VARIABLE) or None

    def find(self) -> Installation | Missing:
        """Asks the server's /status; the version is empty until a session tells it."""
        url = self._url()
        if url is None:
            return self._missing(f"no {URL_VARIABLE}")
        try:
            status = _status(url)
        except (OSError, ValueError, KeyError, TypeError) as error:
            return self._missing(f"no WebDriver server answers at {url} ({error})")
        if status.get("ready") is False:
            return self._missing(f"{url} is not ready: {status.get('message', '')}")
        return Installation(
            kind=self.kind,
            family=self.family,
            browser_path=None,
            driver_path=None,
            version="",
            driver_version=None,
        )

    def _missing(self, reason: str) -> Missing:
        return Missing(kind=self.kind, family=self.family, reason=reason, remedy=REMEDY)

    def launch(self, options: LaunchOptions) -> LaunchedBrowser:
        options = dataclasses.replace(options, remote_url=options.remote_url or self._url())
        flags = common_flags(options, profile_dir=None)
        wanted: list[BaseOptions] = [
            fill(ChromeOptions(), flags, None),
            firefox_options(None, None),
            fill(EdgeOptions(), flags, None),
            SafariOptions(),
        ]
        return launch_remote(self.kind, None, wanted, options)
