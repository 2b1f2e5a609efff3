"""A browser as it was found here, or was not, and how it is to be launched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Installation:
    """A browser that this machine has; versions come from the programs themselves.

    The paths are None for a remote one; `driver_version` is None where the driver does not tell.
    `build_mark` follows the version of one that is started otherwise than its makers do (core/flags.py).
    """

    kind: str
    family: str
    browser_path: Path | None
    driver_path: Path | None
    version: str
    driver_version: str | None
    build_mark: str = ""


@dataclass(frozen=True)
class Missing:
    """A browser that cannot be launched here, why, and what to install.

    `untried`: this operating system cannot have it at all, so this machine never tried the code.
    """

    kind: str
    family: str
    reason: str
    remedy: str
    untried: bool = False


@dataclass(frozen=True)
class LaunchOptions:
    """How to launch one browser.

    `profile_dir` is the browser's private directory: wiped at start and removed at the end.
    `log_path` receives the driver's and the browser's output (appended).
    `polite`: where that can be undone, its processes give way to others until `at_full_speed`.
    `remote_url` takes the place of a local driver (Selenium Grid, any WebDriver server).
    """

    profile_dir: Path
    log_path: Path
    start_timeout_s: float = 60.0
    remote_url: str | None = None
    polite: bool = False


class Absent(Exception):
    """A browser, or what it needs, is not here; the message says what."""
