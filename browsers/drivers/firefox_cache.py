"""What Firefox compiles of itself at its first start, kept, which shortens its later starts.

Each start has a profile of its own, which begins empty; without this, each compiles the browser's own
scripts anew. Kept are the files that hold nothing but that, after a start which saw an empty page and no
other. Firefox itself drops them where they are of another build.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path

from browsers.drivers.base import Driver
from browsers.drivers.client import translated
from browsers.drivers.installation import LaunchOptions

log = logging.getLogger(__name__)
_FILES = ("startupCache", "compatibility.ini", "extensions.json", "addonStartup.json.lz4")
_NAME = "firefox-{}"


def profile_in(profile_dir: Path) -> Path:
    """Firefox's profile, in the private directory of one browser."""
    return profile_dir / "profile"


def put(home: Path, browser: Path, profile: Path) -> None:
    """Copy what `home` keeps for this program, if anything that can be read, into an empty `profile`."""
    kept = _folder(home, browser)
    try:
        if kept.is_dir():
            shutil.copytree(kept, profile, dirs_exist_ok=True)
    except OSError as error:
        log.info("Firefox starts without what it compiled before: %s", error)
        shutil.rmtree(profile)
        profile.mkdir()


def make(driver: Driver, browser: Path, home: Path) -> None:
    """Start this program once and keep what that made, unless `home` has it; of one build alone.

    Raises:
        DriverError: it did not start, or did not do as it was told.
        OSError: the disk is full, or may not be written.
    """
    kept = _folder(home, browser)
    if kept.is_dir():
        return
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".firefox-", dir=kept.parent) as scratch:
        draft = Path(scratch) / "draft"
        _start_once(driver, Path(scratch), draft)
        try:
            os.rename(draft, kept)
        except OSError:
            if not kept.is_dir():  # else another process was first
                raise
    for other in kept.parent.glob(_NAME.format("*")):
        if other != kept:
            shutil.rmtree(other, ignore_errors=True)


def _start_once(driver: Driver, scratch: Path, draft: Path) -> None:
    """Fill `draft`. Firefox writes them when it ends in peace, before its profile is removed."""
    profile_dir = scratch / "browser"
    browser = driver.launch(LaunchOptions(profile_dir=profile_dir, log_path=scratch / "log"))
    try:
        browser.navigate("about:blank")
        with translated("end"):
            browser.session.quit()
        draft.mkdir()
        for name in _FILES:
            path = profile_in(profile_dir) / name
            copy = shutil.copytree if path.is_dir() else shutil.copyfile
            copy(path, draft / name)
    finally:
        browser.quit()


def _folder(home: Path, browser: Path) -> Path:
    """By the moment at which the program was installed: another one compiles other scripts."""
    return home / "tools" / _NAME.format(browser.resolve().stat().st_mtime_ns)
