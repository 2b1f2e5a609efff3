"""Browsers behind one seam: `get_driver(kind).launch(options)`. Nothing outside imports Selenium."""

from __future__ import annotations

from pathlib import Path

from browsers import locations
from browsers.drivers.base import Driver
from browsers.drivers.chromium import CHROME, CHROMIUM, EDGE, ChromiumDriver
from browsers.drivers.chromium_npm import ChromiumNpmDriver
from browsers.drivers.errors import (
    BrowserGone,
    CommandFailed,
    CommandTimeout,
    DriverError,
    LaunchFailed,
    PageTimeout,
    TabCrashed,
)
from browsers.drivers.firefox import FirefoxDriver
from browsers.drivers.installation import Installation, LaunchOptions, Missing
from browsers.drivers.launch.launched import LaunchedBrowser, QuitReport
from browsers.drivers.launch.roles import Role, TreeProcess
from browsers.drivers.remote import RemoteDriver
from browsers.drivers.safari import SafariDriver
from browsers.drivers.webkitgtk import WebKitGtkDriver

__all__ = [
    "ALL_KINDS",
    "BrowserGone",
    "CommandFailed",
    "CommandTimeout",
    "Driver",
    "DriverError",
    "Installation",
    "LaunchFailed",
    "LaunchOptions",
    "LaunchedBrowser",
    "Missing",
    "PageTimeout",
    "QuitReport",
    "Role",
    "TabCrashed",
    "TreeProcess",
    "find_all",
    "get_driver",
    "installed",
]

ALL_KINDS = (
    "chromium",
    "chrome",
    "chromium-npm",
    "firefox",
    "webkitgtk",
    "edge",
    "safari",
    "remote",
)
"""Every kind that `get_driver` knows, in the order in which they are listed to people."""


def get_driver(kind: str, *, home: Path | None = None) -> Driver:
    """The driver of one kind; ValueError names the kinds there are. `home` holds what is made for them."""
    home = home or locations.default_home()
    match kind:
        case "chromium":
            return ChromiumDriver(CHROMIUM)
        case "chrome":
            return ChromiumDriver(CHROME)
        case "chromium-npm":
            return ChromiumNpmDriver(root=locations.npm_root(home), home=home)
        case "webkitgtk":
            return WebKitGtkDriver()
        case "safari":
            return SafariDriver()
        case "edge":
            return ChromiumDriver(EDGE)
        case "firefox":
            return FirefoxDriver(home)
        case "remote":
            return RemoteDriver()
    raise ValueError(f"expected a browser kind ({', '.join(ALL_KINDS)}), got {kind!r}")


def find_all(*, home: Path | None = None) -> tuple[Installation | Missing, ...]:
    """What there is of every kind, missing ones with their remedy."""
    return tuple(get_driver(kind, home=home).find() for kind in ALL_KINDS)


def installed(*, home: Path | None = None) -> tuple[Installation, ...]:
    """The browsers that can be launched here."""
    return tuple(found for found in find_all(home=home) if isinstance(found, Installation))
