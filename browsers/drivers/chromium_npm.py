"""The headless Chromium of the npm package @sparticuz/chromium: no root needed, and it has WebNN."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selenium.webdriver.chrome.options import Options as ChromeOptions

from browsers.drivers.base import Installation, LaunchOptions, Missing
from browsers.drivers.chromium import common_flags, fill, packaged_chromedriver
from browsers.drivers.launched import LaunchedBrowser
from browsers.drivers.local import launch_local
from browsers.drivers.probe import first_program, version_of
from browsers.drivers.remote_session import launch_remote
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
class ChromiumNpmDriver:
    """`root` holds node_modules, `home` gets the unpacked program (tools/)."""

    root: Path
    home: Path

    @property
    def kind(self) -> str:
        return "chromium-npm"

    @property
    def family(self) -> str:
        return "chrome"

    def _env(self, parts: NpmChromium) -> dict[str, str]:
        return {"LD_LIBRARY_PATH": str(parts.libraries), "FONTCONFIG_PATH": str(parts.fonts)}

    def find(self) -> Installation | Missing:
        """Unpacks the program when that was not done yet: only it knows its version."""
        try:
            parts = unpack(root=self.root, home=self.home)
        except UnpackFailed as error:
            return self._missing(str(error))
        version = version_of(parts.browser, env=self._env(parts))
        if version is None:
            return self._missing(f"{parts.browser} does not run")
        driver = packaged_chromedriver() or first_program(["chromedriver"])
        if driver is None:
            return self._missing("no chromedriver")
        driver_version = version_of(driver)
        if driver_version is None:
            return self._missing(f"{driver} does not run")
        return Installation(
            kind=self.kind,
            family=self.family,
            browser_path=parts.browser,
            driver_path=driver,
            version=version,
            driver_version=driver_version,
        )

    def _missing(self, reason: str) -> Missing:
        return Missing(kind=self.kind, family=self.family, reason=reason, remedy=_REMEDY)

    def launch(self, options: LaunchOptions) -> LaunchedBrowser:
        if options.remote_url is not None:
            flags = common_flags(options, profile_dir=None, features=_FEATURES)
            return launch_remote(
                self.kind, self.family, fill(_shell_options(), flags, None), options
            )
        found = self.find()
        browser = found.browser_path if isinstance(found, Installation) else None
        driver = found.driver_path if isinstance(found, Installation) else None

        def make_options(profile_dir: Path) -> ChromeOptions:
            made = _shell_options()
            flags = common_flags(options, profile_dir=profile_dir, features=_FEATURES)
            fill(made, [*flags, "--disable-gpu-sandbox"], browser)
            return made

        return launch_local(
            found,
            options,
            # The driver is newer than this Chromium, on purpose: there is none of its version.
            command=[str(driver), "--port=0", "--enable-chrome-logs", "--disable-build-check"],
            make_options=make_options,
            remedy=_REMEDY,
            env=self._env(unpack(root=self.root, home=self.home)) if browser else None,
        )
