"""Every installed browser through the one seam: found, launched, driven, measured, ended."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from browsers.drivers import (
    ALL_KINDS,
    CommandFailed,
    Installation,
    LaunchedBrowser,
    LaunchFailed,
    LaunchOptions,
    Missing,
    Role,
    find_all,
    get_driver,
)
from browsers.drivers.chromium import CHROMIUM, ChromiumDriver, Variant
from browsers.drivers.chromium_npm import ChromiumNpmDriver
from browsers.drivers.remote import RemoteDriver
from browsers.drivers.unpack import PACKAGE
from browsers.processes import MARK_PROFILE
from tests.browser.bench import KINDS, driver_or_skip
from tests.support.pages import Page

ADAPTER = """
const done = arguments[arguments.length - 1];
(async () => {
  if (!navigator.gpu) return null;
  const adapter = await navigator.gpu.requestAdapter();
  return adapter && {software: adapter.info.isFallbackAdapter};
})().then(done, error => done(String(error)));
"""

CONTEXT = """
const done = arguments[arguments.length - 1];
navigator.ml.createContext({deviceType: 'cpu'})
  .then(context => done(String(context)), error => done(String(error)));
"""


def marked_with(profile_dir: Path) -> list[int]:
    """Processes that carry the browser's directory in their environment or command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if f"{MARK_PROFILE}={profile_dir}".encode() in text or f"{profile_dir}/".encode() in text:
            found.append(int(entry.name))
    return found


@pytest.fixture
def options(tmp_path: Path) -> LaunchOptions:
    return LaunchOptions(
        profile_dir=tmp_path / "profiles" / "b", log_path=tmp_path / "logs" / "b.log"
    )


def end(browser: LaunchedBrowser) -> None:
    report = browser.quit(10)
    assert report.left == ()
    assert report.took_s < 25
    assert browser.processes() == []
    assert not browser.alive()
    assert browser.pss_mb() is None
    assert not browser.options.profile_dir.exists()
    assert marked_with(browser.options.profile_dir) == []
    assert browser.quit(1) is report


def test_every_kind_is_found_or_says_what_to_do() -> None:
    found = find_all()
    assert [each.kind for each in found] == list(ALL_KINDS)
    for each in found:
        if isinstance(each, Missing):
            assert each.reason
            assert each.remedy
    safari = next(each for each in found if each.kind == "safari")
    if sys.platform != "darwin":
        assert isinstance(safari, Missing)
        assert safari.untried


def test_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"chromium, chrome, .*got 'netscape'"):
        get_driver("netscape")


@pytest.mark.parametrize("kind", KINDS)
def test_life_of_a_browser(kind: str, options: LaunchOptions, page: Page) -> None:
    driver = driver_or_skip(kind)
    found = driver.find()
    assert isinstance(found, Installation)
    browser = driver.launch(options)
    try:
        assert found.version.removesuffix("esr") + found.build_mark == browser.version
        address = page(browser)
        browser.navigate(address)
        assert browser.execute("return document.getElementById('p').textContent") == "here"
        assert browser.execute("return [crossOriginIsolated, typeof SharedArrayBuffer]") == [
            True,
            "function",
        ]
        browser.refresh()
        assert browser.current_url() == address
        with pytest.raises(CommandFailed, match="no such thing"):
            browser.execute("throw new Error('no such thing')")

        assert browser.alive()
        assert len(browser.with_role(Role.DRIVER)) == 1
        assert len(browser.with_role(Role.BROWSER)) == 1
        assert browser.with_role(Role.CONTENT)
        memory = browser.pss_mb()
        assert memory is not None
        assert 50 < memory < 4000
    finally:
        end(browser)


def test_an_operators_flags_reach_chromium_and_are_another_build(
    monkeypatch: pytest.MonkeyPatch, options: LaunchOptions, page: Page
) -> None:
    monkeypatch.setenv(
        "WEBPOOL_CHROMIUM_FLAGS", "--user-agent='an operator' --js-flags=--expose-gc"
    )
    browser = driver_or_skip("chromium").launch(options)
    try:
        browser.navigate(page(browser))
        told = browser.execute("return [navigator.userAgent, typeof gc]")
        assert told == ["an operator", "function"]
        assert re.fullmatch(r"\d+[.\d]+ flags [0-9a-f]{8}", browser.version)
    finally:
        end(browser)


@pytest.mark.parametrize("kind", ["chromium", "chromium-npm", "firefox"])
def test_webgpu_adapter(kind: str, options: LaunchOptions, page: Page) -> None:
    browser = driver_or_skip(kind).launch(options)
    try:
        address = page(browser)
        browser.navigate(address)
        adapter = browser.execute_async(ADAPTER)
        assert isinstance(adapter, dict), adapter
        assert isinstance(adapter["software"], bool)
        if kind == "chromium-npm":
            assert browser.execute_async(CONTEXT) == "[object MLContext]"
    finally:
        end(browser)


def test_a_browser_that_ends_at_once_is_a_failed_launch(
    tmp_path: Path, options: LaunchOptions
) -> None:
    installed = driver_or_skip("chromium").find()
    assert isinstance(installed, Installation)
    script = tmp_path / "chromium"
    script.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo Chromium {installed.version} && exit 0\n'
        "echo cannot go on >&2\nexit 3\n"
    )
    script.chmod(0o755)
    tmp_path.chmod(0o755)  # a user of their own starts browsers
    variant = Variant(
        kind="chromium",
        family="chrome",
        browsers=(str(script), "chromium"),
        drivers=CHROMIUM.drivers,
        options=CHROMIUM.options,
        remedy="install a browser that works",
    )
    with pytest.raises(LaunchFailed) as failure:
        ChromiumDriver(variant).launch(options)
    assert "no browser process for 10 s" in failure.value.reason
    assert failure.value.remedy == "install a browser that works"
    assert "chromedriver" in failure.value.tried
    assert "cannot go on" in failure.value.log_tail
    assert marked_with(options.profile_dir) == []
    assert not options.profile_dir.exists()


def test_a_missing_browser_is_a_failed_launch(tmp_path: Path, options: LaunchOptions) -> None:
    driver = ChromiumNpmDriver(root=tmp_path, home=tmp_path)
    missing = driver.find()
    assert isinstance(missing, Missing)
    assert "is not installed" in missing.reason
    with pytest.raises(LaunchFailed, match="npm ci"):
        driver.launch(options)


def broken_package(root: Path, packed: bytes) -> None:
    package = root / "node_modules/@sparticuz/chromium"
    (package / "bin").mkdir(parents=True)
    (package / "package.json").write_text('{"version": "1.0.0"}')
    (package / "bin/chromium.br").write_bytes(packed)


@pytest.mark.parametrize("damage", ["truncated", "not brotli"])
def test_a_damaged_npm_package_is_missing_and_leaves_nothing(damage: str, tmp_path: Path) -> None:
    whole = Path(__file__).resolve().parents[2] / PACKAGE / "bin/fonts.tar.br"
    packed = whole.read_bytes()[:-100] if damage == "truncated" else b"\x00this is not brotli"
    broken_package(tmp_path, packed)
    missing = ChromiumNpmDriver(root=tmp_path, home=tmp_path / "home").find()
    assert isinstance(missing, Missing)
    assert "npm ci" in missing.reason
    assert list((tmp_path / "home/tools").iterdir()) == []


def test_remote_webdriver(remote_url: str, tmp_path: Path, page: Page) -> None:
    found = driver_or_skip("chromium").find()
    assert isinstance(found, Installation)
    driver = RemoteDriver(remote_url)
    assert isinstance(driver.find(), Installation)
    browser = driver.launch(
        LaunchOptions(profile_dir=tmp_path / "unused", log_path=tmp_path / "unused.log")
    )
    try:
        assert browser.installation.family == "chrome"
        assert browser.version == found.version
        address = page(browser)
        browser.navigate(address)
        assert browser.execute("return crossOriginIsolated") is True
        assert browser.processes() == []
        assert browser.pss_mb() is None
    finally:
        report = browser.quit(10)
    assert report.polite


def test_a_remote_server_that_is_not_there(tmp_path: Path, options: LaunchOptions) -> None:
    driver = RemoteDriver("http://127.0.0.1:9")
    missing = driver.find()
    assert isinstance(missing, Missing)
    assert "no WebDriver server answers at http://127.0.0.1:9" in missing.reason
    with pytest.raises(LaunchFailed, match="WEBPOOL_REMOTE_URL"):
        driver.launch(options)
