"""A session at somebody else's WebDriver server, in place of a driver of ours.

The page must reach this worker's loopback server, so it has to run on this host. Its processes are
not ours: they are neither measured nor killed, only the session is ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import urllib3
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.options import BaseOptions

from browsers.drivers.client import first_line, open_session
from browsers.drivers.errors import LaunchFailed
from browsers.drivers.installation import Installation, LaunchOptions
from browsers.drivers.launch.launched import LaunchedBrowser

URL_VARIABLE = "WEBPOOL_REMOTE_URL"
"""Environment variable with the WebDriver address that the kind `remote` uses."""

REMEDY = f"set {URL_VARIABLE} to the address of a WebDriver server that is up, on this host"
_FAMILIES = {
    "chrome": "chrome",
    "chromium": "chrome",
    "chrome-headless-shell": "chrome",
    "firefox": "firefox",
    "microsoftedge": "edge",
    "msedge": "edge",
    "safari": "safari",
    "minibrowser": "webkitgtk",
}


def family_of(browser_name: str) -> str:
    """The family of a WebDriver browserName; the lower-case name itself when it is none of ours."""
    return _FAMILIES.get(browser_name.lower(), browser_name.lower())


def launch_remote(
    kind: str,
    family: str | None,
    wanted: BaseOptions | Sequence[BaseOptions],
    options: LaunchOptions,
) -> LaunchedBrowser:
    """Open a session at `options.remote_url`; `family` None takes that of the browser that answers."""
    url = options.remote_url
    if not url:
        raise LaunchFailed("no WebDriver address", tried="nothing", log_tail="", remedy=REMEDY)
    try:
        session = open_session(url, wanted, timeout_s=options.start_timeout_s)
    except (WebDriverException, urllib3.exceptions.HTTPError, OSError) as error:
        raise LaunchFailed(
            f"no browser session from the WebDriver server ({first_line(error)})",
            tried=f"a new session at {url}",
            log_tail="",
            remedy=REMEDY,
        ) from error
    capabilities: dict[str, Any] = session.capabilities
    return LaunchedBrowser(
        installation=Installation(
            kind=kind,
            family=family or family_of(str(capabilities.get("browserName", ""))),
            browser_path=None,
            driver_path=None,
            version=str(capabilities.get("browserVersion", "")),
            driver_version=None,
        ),
        options=options,
        session=session,
        server=None,
    )
