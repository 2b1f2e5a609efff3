"""Safari with safaridriver: macOS only. Safari takes one automated session at a time."""

from __future__ import annotations

import plistlib
import sys
from dataclasses import dataclass
from pathlib import Path

from selenium.webdriver.safari.options import Options as SafariOptions

from browsers.drivers.base import Installation, LaunchOptions, Missing
from browsers.drivers.launched import LaunchedBrowser
from browsers.drivers.local import launch_local
from browsers.drivers.probe import first_program, version_of
from browsers.drivers.remote_session import launch_remote

_APPLICATION = Path("/Applications/Safari.app")
_REMEDY = "on a Mac: safaridriver --enable (once, as an administrator)"


def _version() -> str | None:
    try:
        with (_APPLICATION / "Contents/Info.plist").open("rb") as info:
            return str(plistlib.load(info)["CFBundleShortVersionString"])
    except (OSError, KeyError, plistlib.InvalidFileException):
        return None


@dataclass(frozen=True)
class SafariDriver:
    """Safari on this Mac. Private data and processes of Safari cannot be given a place of their own."""

    @property
    def kind(self) -> str:
        return "safari"

    @property
    def family(self) -> str:
        return "safari"

    def find(self) -> Installation | Missing:
        if sys.platform != "darwin":
            return self._missing("Safari runs on macOS only", untried=True)
        driver = first_program(["/usr/bin/safaridriver", "safaridriver"])
        version = _version()
        if driver is None or version is None:
            return self._missing("no Safari with safaridriver")
        return Installation(
            kind=self.kind,
            family=self.family,
            browser_path=_APPLICATION,
            driver_path=driver,
            version=version,
            driver_version=version_of(driver),
        )

    def _missing(self, reason: str, *, untried: bool = False) -> Missing:
        return Missing(
            kind=self.kind, family=self.family, reason=reason, remedy=_REMEDY, untried=untried
        )

    def launch(self, options: LaunchOptions) -> LaunchedBrowser:
        if options.remote_url is not None:
            return launch_remote(self.kind, self.family, SafariOptions(), options)
        found = self.find()
        driver = found.driver_path if isinstance(found, Installation) else None
        return launch_local(
            found,
            options,
            command=[str(driver), "--port", "{port}"],
            make_options=lambda _profile_dir: SafariOptions(),
            remedy=_REMEDY,
        )
