"""The headless Chromium of the npm package @sparticuz/chromium: no root needed, and it has WebNN."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selenium.webdriver.chrome.options import Options as ChromeOptions
from selenium.webdriver.chromium.options import ChromiumOptions

from browsers.core import flags as own
from browsers.drivers.chromium import common_flags, fill, further_flags, packaged_chromedriver
from browsers.drivers.installation import Absent, Installation, LaunchOptions
from browsers.drivers.local import LocalDriver
from browsers.drivers.probe import first_program, running_version
from browsers.drivers.unpack import NpmChromium, UnpackFailed, unpack

_FEATURES = ("WebMachineLearningNeuralNetwork",)
_REMEDY = (
    "npm ci (for @sparticuz/chromium); pip install chromedriver-py brotli; apt-get install libglib2.0-0"
    " when the program does not run"
)


def _shell_options() -> ChromeOptions:
    """Under any other name chromedriver waits for ever for a kind of tab that this build lacks."""
    made = ChromeOptions()
    made.set_capability("browserName", "chrome-headless-shell")
    return made


@dataclass(frozen=True)
class ChromiumNpmDriver(LocalDriver):
    """`root` holds node_modules, `home` gets the unpacked program (tools/)."""

    root: Path
    home: Path
    kind = "chromium-npm"
    family = "chrome"
    remedy = _REMEDY

    def _parts(self) -> NpmChromium:
        try:
            return unpack(root=self.root, home=self.home)
        except UnpackFailed as error:
            raise Absent(str(error)) from error

    @property
    def build_mark(self) -> str:
        return own.mark(further_flags())

    def locate(self) -> Installation:
        """Unpacks the program when that was not done yet: only it knows its version."""
        browser = self._parts().browser
        version = running_version(browser, env=self.env())
        driver = packaged_chromedriver() or first_program(["chromedriver"])
        if driver is None:
            raise Absent("no chromedriver")
        return self.found(browser, driver, version, running_version(driver))

    def command(self, driver: Path) -> list[str]:
        # The driver is newer than this Chromium, on purpose: there is none of its version.
        return [str(driver), "--port=0", "--enable-chrome-logs", "--disable-build-check"]

    def env(self) -> dict[str, str]:
        parts = self._parts()
        return {"LD_LIBRARY_PATH": str(parts.libraries), "FONTCONFIG_PATH": str(parts.fonts)}

    def options(
        self, launch: LaunchOptions, *, profile_dir: Path | None, browser: Path | None
    ) -> ChromiumOptions:
        flags = common_flags(launch, profile_dir=profile_dir, features=_FEATURES)
        if browser is not None:
            flags.append("--disable-gpu-sandbox")
        return fill(_shell_options(), flags, browser)
