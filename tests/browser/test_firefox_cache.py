"""What Firefox compiled of itself at its first start: later ones take it over, unless of another build."""

from __future__ import annotations

from pathlib import Path

import pytest

from browsers.drivers import LaunchOptions, Missing, firefox_cache, get_driver
from browsers.drivers.base import Driver
from browsers.drivers.firefox_cache import profile_in

_COMPILED, _IN_USE = "startupCache/scriptCache.bin", "startupCache/scriptCache-current.bin"
"""Firefox renames it when it takes it over, and removes it when it cannot use it."""


def program_of(driver: Driver) -> Path:
    found = driver.find()
    if isinstance(found, Missing):
        pytest.skip(f"{found.reason}: {found.remedy}")
    assert found.browser_path is not None
    return found.browser_path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    driver = get_driver("firefox", home=home)
    (home / "tools" / "firefox-1").mkdir(parents=True)  # of an earlier build
    firefox_cache.make(driver, program_of(driver), home)
    return home


def started_with(driver: Driver, folder: Path) -> bytes | None:
    """What the profile of a Firefox that runs holds of it."""
    options = LaunchOptions(profile_dir=folder / "browser", log_path=folder / "log")
    browser = driver.launch(options)
    try:
        browser.navigate("about:blank")
        path = profile_in(options.profile_dir) / _IN_USE
        return path.read_bytes() if path.exists() else None
    finally:
        assert browser.quit().left == ()


def test_a_later_start_takes_over_what_the_first_one_compiled(home: Path, tmp_path: Path) -> None:
    (kept,) = (home / "tools").iterdir()
    compiled = (kept / _COMPILED).read_bytes()
    assert len(compiled) > 100_000
    assert started_with(get_driver("firefox", home=home), tmp_path) == compiled
    driver = get_driver("firefox", home=home)
    firefox_cache.make(driver, program_of(driver), home)
    assert list((home / "tools").iterdir()) == [kept], "what is there is not made again"


def test_firefox_itself_drops_what_another_build_compiled(home: Path, tmp_path: Path) -> None:
    (kept,) = (home / "tools").iterdir()
    build = kept / "compatibility.ini"
    lines = build.read_text().splitlines()
    other = ["LastVersion=1.0_1/1" if line.startswith("LastVersion=") else line for line in lines]
    assert other != lines
    build.write_text("\n".join(other) + "\n")
    try:
        assert started_with(get_driver("firefox", home=home), tmp_path) is None
    finally:
        build.write_text("\n".join(lines) + "\n")


def test_a_first_start_that_leaves_nothing_to_keep_keeps_nothing(tmp_path: Path) -> None:
    """Chromium has no such files."""
    driver = get_driver("chromium")
    program = program_of(driver)
    with pytest.raises(FileNotFoundError, match="startupCache"):
        firefox_cache.make(driver, program, tmp_path)
    assert list((tmp_path / "tools").iterdir()) == []
