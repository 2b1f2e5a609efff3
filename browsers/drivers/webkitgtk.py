"""WebKitGTK: MiniBrowser driven by WebKitWebDriver, on an X server of our own.

`JSC_useSharedArrayBuffer=1` must reach the browser through the driver's environment; without it
there is no SharedArrayBuffer, and WebAssembly computes on one thread without a word.
"""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from selenium.webdriver.webkitgtk.options import Options as WebKitGTKOptions

from browsers.drivers import xvfb
from browsers.drivers.base import Installation, LaunchOptions, Missing
from browsers.drivers.launched import LaunchedBrowser
from browsers.drivers.local import launch_local, require
from browsers.drivers.private import wipe
from browsers.drivers.probe import first_program
from browsers.drivers.remote_session import launch_remote
from browsers.drivers.server import environment

_REMEDY = "apt-get install webkit2gtk-driver xvfb"
_LIBRARIES = {"4.0": "libwebkit2gtk-4.0.so.37", "4.1": "libwebkit2gtk-4.1.so.0"}
_ASK = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
print(".".join(str(getattr(library, f"webkit_get_{part}_version")())
      for part in ("major", "minor", "micro")))
"""
_ASK_TIMEOUT_S = 30.0

_ENV = {
    "JSC_useSharedArrayBuffer": "1",
    "NO_AT_BRIDGE": "1",
    "GTK_A11Y": "none",
    "GDK_BACKEND": "x11",
    "GIO_USE_PROXY_RESOLVER": "dummy",
    "GSETTINGS_BACKEND": "memory",
    "LIBGL_ALWAYS_SOFTWARE": "1",
    "WEBKIT_DISABLE_DMABUF_RENDERER": "1",
}


def _mini_browser() -> Path | None:
    directories = sorted(Path("/usr/lib").glob("*/webkit2gtk-4.*"), reverse=True)
    usual = [Path("/usr/libexec/webkit2gtk-4.1"), Path("/usr/lib/webkit2gtk-4.1")]
    return first_program([each / "MiniBrowser" for each in [*directories, *usual]])


@functools.lru_cache(maxsize=4)
def _library_version(library: str) -> str | None:
    """What the library says; asked in a process of its own, as it is large. Needs no display."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ASK, library],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ASK_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


@dataclass(frozen=True)
class WebKitGtkDriver:
    """WebKitGTK's MiniBrowser on this machine."""

    @property
    def kind(self) -> str:
        return "webkitgtk"

    @property
    def family(self) -> str:
        return "webkitgtk"

    def find(self) -> Installation | Missing:
        browser = _mini_browser()
        driver = first_program(["WebKitWebDriver"])
        if browser is None or driver is None:
            absent = "MiniBrowser" if browser is None else "WebKitWebDriver"
            return self._missing(f"no program {absent}")
        if first_program(["Xvfb"]) is None:
            return self._missing("no program Xvfb: MiniBrowser needs a display")
        library = _LIBRARIES.get(browser.parent.name.rpartition("-")[2])
        version = _library_version(library) if library else None
        if version is None:
            return self._missing(f"{library or 'the WebKit library'} of {browser} does not load")
        return Installation(
            kind=self.kind,
            family=self.family,
            browser_path=browser,
            driver_path=driver,
            version=version,
            driver_version=None,
        )

    def _missing(self, reason: str) -> Missing:
        return Missing(
            kind=self.kind,
            family=self.family,
            reason=reason,
            remedy=_REMEDY,
            untried=sys.platform != "linux",
        )

    def launch(self, options: LaunchOptions) -> LaunchedBrowser:
        if options.remote_url is not None:
            return launch_remote(self.kind, self.family, WebKitGTKOptions(), options)
        found = require(self.find())
        # The X server lives through the wipe in launch_local: it keeps nothing in that directory.
        profile_dir = wipe(options.profile_dir)
        options = dataclasses.replace(options, profile_dir=profile_dir)
        display = xvfb.start_display(
            env=environment(profile_dir, {}),
            log_path=options.log_path,
            timeout_s=options.start_timeout_s,
        )

        def make_options(_profile_dir: Path) -> WebKitGTKOptions:
            made = WebKitGTKOptions()
            made.binary_location = str(found.browser_path)
            made.add_argument("--automation")
            return made

        return launch_local(
            found,
            options,
            command=[str(found.driver_path), "--port=0"],
            make_options=make_options,
            remedy=_REMEDY,
            env=_ENV | {"DISPLAY": display.name},
            helpers=(display.process,),
            stop_helpers=display.stop,
        )
