"""WebKitGTK: MiniBrowser driven by WebKitWebDriver, on an X server of our own.

`JSC_useSharedArrayBuffer=1` must reach the browser through the driver's environment; without it
there is no SharedArrayBuffer, and WebAssembly computes on one thread without a word.
"""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from selenium.webdriver.webkitgtk.options import Options as WebKitGTKOptions

from browsers.drivers.installation import Absent, Installation, LaunchOptions
from browsers.drivers.launch import xvfb
from browsers.drivers.launch.private import wipe
from browsers.drivers.launch.server import environment
from browsers.drivers.launch.xvfb import VirtualDisplay
from browsers.drivers.local import LocalDriver
from browsers.drivers.probe import first_program, program

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


class WebKitGtkDriver(LocalDriver):
    """WebKitGTK's MiniBrowser on this machine."""

    kind = "webkitgtk"
    family = "webkitgtk"
    remedy = _REMEDY

    @property
    def untried(self) -> bool:
        return sys.platform != "linux"

    def locate(self) -> Installation:
        browser = _mini_browser()
        if browser is None:
            raise Absent("no program MiniBrowser")
        driver = program(["WebKitWebDriver"], "WebKitWebDriver")
        program(["Xvfb"], "Xvfb: MiniBrowser needs a display")
        library = _LIBRARIES.get(browser.parent.name.rpartition("-")[2])
        version = _library_version(library) if library else None
        if version is None:
            raise Absent(f"{library or 'the WebKit library'} of {browser} does not load")
        return self.found(browser, driver, version, None)

    def command(self, driver: Path) -> list[str]:
        return [str(driver), "--port=0"]

    def env(self) -> dict[str, str]:
        return _ENV

    def options(
        self, launch: LaunchOptions, *, profile_dir: Path | None, browser: Path | None
    ) -> WebKitGTKOptions:
        made = WebKitGTKOptions()
        if browser is not None:
            made.binary_location = str(browser)
            made.add_argument("--automation")
        return made

    @contextlib.contextmanager
    def display(self, options: LaunchOptions) -> Iterator[VirtualDisplay]:
        # The X server lives through the wipe in launch_local: nothing of it is in that directory.
        profile_dir = wipe(options.profile_dir)
        display = xvfb.start_display(
            env=environment(profile_dir, {}),
            cookie=profile_dir.with_name(f"{profile_dir.name}.xauthority"),
            log_path=options.log_path,
            timeout_s=options.start_timeout_s,
        )
        try:
            yield display
        except BaseException:
            display.stop(1.0)
            raise
