"""Nothing outlives its worker: real kills of workers, drivers and browsers, also stopped ones."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from browsers import processes
from browsers.drivers import (
    CommandTimeout,
    DriverError,
    LaunchedBrowser,
    LaunchOptions,
    Role,
    TabCrashed,
)
from browsers.drivers.launch.private import remove
from tests.browser.bench import KINDS, driver_or_skip
from tests.browser.test_drivers import ADAPTER, marked_with
from tests.support.pages import Page

OWNER = """
import json, sys, time
from pathlib import Path
from typing import Any
from browsers.drivers import LaunchOptions, get_driver

kind, home = sys.argv[1], Path(sys.argv[2])
browser = get_driver(kind).launch(
    LaunchOptions(profile_dir=home / "profiles" / kind, log_path=home / "logs" / "b.log"))
print(json.dumps([process.pid for process in browser.processes()]), flush=True)
time.sleep(600)
"""
ROOT = Path(__file__).resolve().parents[2]
# npm's headless Chromium is another build of Chromium with the same driver and the same processes.
_ALIKE = pytest.mark.soak("as chromium")
EACH = [pytest.param(kind, marks=_ALIKE) if kind == "chromium-npm" else kind for kind in KINDS]
CHROMIUMS = ["chromium", pytest.param("chromium-npm", marks=_ALIKE)]
QUIT_S = 4.0
COMMAND_S = 3.0
"""For half of it a browser is asked to quit; one that stands still is waited for in vain."""


def each_with(*ways: object) -> list[Any]:
    """Each kind of browser in each of two ways; `make test` tries both of Chromium, one of the others."""
    first = {"chromium": ways, "firefox": ways[:1], "webkitgtk": ways[1:]}
    also = pytest.mark.soak("each kind is tried in a way, and each way in two kinds")
    return [
        pytest.param(kind, way, marks=() if way in first.get(kind, ()) else also)
        for kind in KINDS
        for way in ways
    ]


def options(home: Path, name: str = "b") -> LaunchOptions:
    return LaunchOptions(
        profile_dir=home / "profiles" / name, log_path=home / "logs" / f"{name}.log"
    )


def alive(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        try:
            if processes.running(psutil.Process(pid)):
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_for(condition: Callable[[], bool], *, timeout_s: float = 30.0) -> bool:
    """Whether it comes true; `pytest -rP` shows after how long."""
    began = time.monotonic()
    while time.monotonic() < began + timeout_s:
        if condition():
            print(f"CONTAINMENT after {time.monotonic() - began:.2f} s")
            return True
        time.sleep(0.02)
    return condition()


def start_owner(kind: str, home: Path, **env: str) -> tuple[subprocess.Popen[str], list[int]]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, kind, str(home)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | env,
    )
    assert owner.stdout is not None
    line = owner.stdout.readline()
    assert line, "the owner ended without a browser"
    return owner, json.loads(line)


def kill_owner(owner: subprocess.Popen[str]) -> None:
    owner.kill()
    owner.wait()
    assert owner.stdout is not None
    owner.stdout.close()


def assert_nothing_left(
    browser: LaunchedBrowser, recorded: list[int], *, deadline_s: float
) -> None:
    report = browser.quit(deadline_s)
    assert report.left == ()
    print(f"CONTAINMENT quit took {report.took_s:.2f} s of {deadline_s:g} s")
    assert report.took_s < 2 * deadline_s + 5  # looking at processes is slow on a busy machine
    assert alive(recorded) == []
    assert marked_with(browser.options.profile_dir) == []


@pytest.mark.parametrize(("kind", "mode"), each_with("pid-namespace", "user-namespace"))
def test_a_killed_worker_takes_everything_along(
    kind: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver_or_skip(kind)
    monkeypatch.setenv(processes.MODE_VARIABLE, mode)
    try:
        processes.containment()
    except ValueError as error:
        pytest.skip(str(error))
    owner, pids = start_owner(kind, tmp_path)
    assert len(alive(pids)) > 3
    kill_owner(owner)
    assert wait_for(lambda: not alive(pids)), alive(pids)
    assert marked_with(tmp_path / "profiles" / kind) == []
    remove(tmp_path / "profiles" / kind)


@pytest.mark.parametrize("kind", ["chromium", "firefox", "webkitgtk"])
def test_without_namespaces_the_reaper_finds_the_rest(kind: str, tmp_path: Path) -> None:
    driver_or_skip(kind)
    owner, pids = start_owner(kind, tmp_path, **{processes.MODE_VARIABLE: "session"})
    try:
        assert processes.reap_orphans(tmp_path) == ()
        assert len(alive(pids)) > 3
        # A stopped browser ends by no signal but SIGKILL and notices no closed pipe.
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # a helper of the start that was done
                os.kill(pid, signal.SIGSTOP)
    finally:
        kill_owner(owner)
    assert wait_for(lambda: len(alive(pids)) < len(pids))
    reaped = processes.reap_orphans(tmp_path)
    assert reaped
    assert all(orphan.gone for orphan in reaped)
    assert {orphan.profile_dir for orphan in reaped} == {str(tmp_path / "profiles" / kind)}
    assert alive(pids) == []
    assert processes.reap_orphans(tmp_path) == ()
    remove(tmp_path / "profiles" / kind)


def test_the_reaper_leaves_other_homes_and_living_owners_alone(tmp_path: Path) -> None:
    browser = driver_or_skip("chromium-npm").launch(options(tmp_path))
    try:
        assert processes.reap_orphans(tmp_path) == ()
        assert processes.reap_orphans(tmp_path / "elsewhere") == ()
        assert browser.alive()
        assert browser.execute("return 1") == 1
    finally:
        browser.quit(10)


def test_a_browser_outlives_the_thread_that_launched_it(tmp_path: Path) -> None:
    driver = driver_or_skip("chromium-npm")
    launched: list[LaunchedBrowser] = []
    thread = threading.Thread(target=lambda: launched.append(driver.launch(options(tmp_path))))
    thread.start()
    thread.join()
    try:
        time.sleep(0.3)
        assert launched[0].alive()
        assert launched[0].execute("return 1") == 1
    finally:
        launched[0].quit(10)


@pytest.mark.parametrize(("kind", "role"), each_with(Role.DRIVER, Role.BROWSER))
def test_killed_driver_or_browser(kind: str, role: Role, tmp_path: Path) -> None:
    browser = driver_or_skip(kind).launch(options(tmp_path))
    recorded = [process.pid for process in browser.processes()]
    try:
        (process,) = browser.with_role(role)
        process.kill()
        assert wait_for(lambda: not browser.alive())
        with pytest.raises(DriverError):
            browser.execute("return 1")
        assert browser.pss_mb() is None
    finally:
        assert_nothing_left(browser, recorded, deadline_s=QUIT_S)


def received(process: psutil.Process, number: signal.Signals) -> bool:
    """False: it was a helper of the browser, which was done."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
        return True
    return False


@pytest.mark.parametrize(("kind", "roles"), each_with((Role.BROWSER,), tuple(Role)))
def test_quit_of_a_stopped_browser(kind: str, roles: tuple[Role, ...], tmp_path: Path) -> None:
    browser = driver_or_skip(kind).launch(options(tmp_path))
    recorded = [process.pid for process in browser.processes()]
    try:
        stopped = [
            each.role
            for each in browser.process_table()
            if each.role in roles and received(each.process, signal.SIGSTOP)
        ]
        assert Role.BROWSER in stopped
    finally:
        assert_nothing_left(browser, recorded, deadline_s=QUIT_S)


@pytest.mark.parametrize("kind", CHROMIUMS)
def test_a_crashed_tab_is_told_apart_and_a_spare_one_goes_on(
    kind: str, tmp_path: Path, page: Page
) -> None:
    browser = driver_or_skip(kind).launch(options(tmp_path))
    try:
        address = page(browser)
        browser.navigate(address)
        before = {process.pid for process in browser.with_role(Role.CONTENT)}
        spare = browser.open_spare_tab()
        (content,) = (p for p in browser.with_role(Role.CONTENT) if p.pid in before)
        content.kill()
        assert wait_for(lambda: not processes.running(content))
        with pytest.raises(TabCrashed):
            browser.execute("return 1")
        assert browser.alive()
        browser.switch_tab(spare)
        browser.navigate(address)
        assert browser.execute("return document.title") == "webpool test page"
    finally:
        assert browser.quit(10).left == ()


def test_firefox_survives_its_content_process(tmp_path: Path, page: Page) -> None:
    browser = driver_or_skip("firefox").launch(options(tmp_path))
    try:
        address = page(browser)
        browser.navigate(address)
        contents = browser.with_role(Role.CONTENT)
        assert [process for process in contents if received(process, signal.SIGKILL)]
        until = time.monotonic() + 30
        with pytest.raises(TabCrashed):
            while time.monotonic() < until:
                browser.execute("return 1")
                time.sleep(0.02)
        browser.refresh()
        assert browser.execute("return document.title") == "webpool test page"
    finally:
        assert browser.quit(10).left == ()


def has_other(browser: LaunchedBrowser, dead: psutil.Process) -> bool:
    return any(process != dead for process in browser.with_role(Role.GPU))


@pytest.mark.parametrize("kind", CHROMIUMS)
def test_gpu_processes_come_back_however_often_they_die(
    kind: str, tmp_path: Path, page: Page
) -> None:
    browser = driver_or_skip(kind).launch(options(tmp_path))
    try:
        address = page(browser)
        for _ in range(5):
            browser.navigate(address)
            assert isinstance(browser.execute_async(ADAPTER), dict)
            (gpu,) = browser.with_role(Role.GPU)
            gpu.kill()
            assert wait_for(partial(has_other, browser, gpu))
        browser.navigate(address)
        assert isinstance(browser.execute_async(ADAPTER), dict)
    finally:
        assert browser.quit(10).left == ()


@pytest.mark.parametrize("kind", EACH)
def test_a_stopped_driver_costs_one_timeout(kind: str, tmp_path: Path) -> None:
    browser = driver_or_skip(kind).launch(options(tmp_path))
    recorded = [process.pid for process in browser.processes()]
    try:
        browser.set_command_timeout(COMMAND_S)
        for process in browser.with_role(Role.DRIVER):
            process.suspend()
        for command in (browser.current_url, browser.refresh):
            began = time.monotonic()
            with pytest.raises(CommandTimeout):
                command()
            assert time.monotonic() - began < 2 * COMMAND_S, "it was not tried again"
    finally:
        assert_nothing_left(browser, recorded, deadline_s=QUIT_S)


def test_an_unknown_mode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(processes.MODE_VARIABLE, "hope")
    with pytest.raises(ValueError, match="pid-namespace, user-namespace, session, not 'hope'"):
        processes.containment()
