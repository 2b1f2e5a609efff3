"""Safari with safaridriver: macOS only. Safari takes one automated session at a time."""

from __future__ import annotations

import plistlib
import sys
from pathlib import Path

from selenium.webdriver.safari.options import Options as SafariOptions

from browsers.drivers.installation import Absent, Installation, LaunchOptions
from browsers.drivers.local import LocalDriver
from browsers.drivers.probe import first_program, version_of

_APPLICATION = Path("/Applications/Safari.app")
_REMEDY = "on a Mac: safaridriver --enable (once, as an administrator)"


def _version() -> str | None:
    try:
        with (_APPLICATION / "Contents/Info.plist").open("rb") as info:
            return str(plistlib.load(info)["CFBundleShortVersionString"])
    except (OSError, KeyError, plistlib.InvalidFileException):
        return None


class SafariDriver(LocalDriver):
    """Safari on this Mac. Private data and processes of Safari cannot be given a place of their own."""

    kind = "safari"
    family = "safari"
    remedy = _REMEDY

    @property
    def untried(self) -> bool:
        return sys.platform != "darwin"

    def locate(self) -> Installation:
        if sys.platform != "darwin":
            raise Absent("Safari runs on macOS only")
        driver = first_program(["/usr/bin/safaridriver", "safaridriver"])
        version = _version()
        if driver is None or version is None:
            raise Absent("no Safari with safaridriver")
        return self.found(_APPLICATION, driver, version, version_of(driver))

    def command(self, driver: Path) -> list[str]:
        return [str(driver), "--port", "{port}"]

    def options(
        self, launch: LaunchOptions, *, profile_dir: Path | None, browser: Path | None
    ) -> SafariOptions:
        del launch, profile_dir, browser  # safaridriver takes nothing of it
        return SafariOptions()
