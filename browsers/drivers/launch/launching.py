"""The steps that every browser on this machine shares, from an empty profile to an open session."""

from __future__ import annotations

import dataclasses
import stat
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil
import urllib3
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.options import BaseOptions

from browsers import processes
from browsers.drivers.client import first_line, open_session
from browsers.drivers.errors import LaunchFailed
from browsers.drivers.installation import Installation, LaunchOptions
from browsers.drivers.launch.launched import LaunchedBrowser
from browsers.drivers.launch.private import remove, scratch, wipe
from browsers.drivers.launch.roles import Role, label
from browsers.drivers.launch.server import environment, start_server
from browsers.drivers.launch.xvfb import VirtualDisplay
from browsers.processes import politeness

_NO_BROWSER_S = 10.0
"""How long a driver may go without a browser process before the launch is given up."""

_LOOK_EVERY_S = 0.25


def launch_local(
    installation: Installation,
    options: LaunchOptions,
    *,
    command: Sequence[str],
    make_options: Callable[[Path], BaseOptions],
    remedy: str,
    env: Mapping[str, str],
    display: VirtualDisplay | None = None,
) -> LaunchedBrowser:
    """Start the driver `command` and open a session with what `make_options(profile_dir)` gives.

    LaunchFailed with what was tried, the end of the log and `remedy`; nothing is left running.
    """
    began = time.monotonic()
    profile_dir = wipe(options.profile_dir)
    options = dataclasses.replace(options, profile_dir=profile_dir)
    try:
        wanted = make_options(profile_dir)
        env = environment(profile_dir, {**env, **(display.admit(profile_dir) if display else {})})
        _hand_over(installation, profile_dir)
        server = start_server(
            [*(politeness.prefix() if options.polite else ()), *command],
            env=env,
            log_path=options.log_path,
            timeout_s=options.start_timeout_s,
            remedy=remedy,
            folders=[
                profile_dir,
                scratch(profile_dir),
                *(each.parent for each in _programs(installation)),
            ],
        )
    except LaunchFailed:
        remove(profile_dir)
        raise
    if options.polite and politeness.prefix():
        politeness.begin(server.root)
    rest = max(1.0, options.start_timeout_s - (time.monotonic() - began))
    watch = _Watch(server.root)
    try:
        session = open_session(server.url, wanted, timeout_s=rest, network=server.network)
    except BaseException as error:
        log_tail = server.log_tail()
        processes.kill_tree(server.root, deadline_s=5.0)
        server.popen.wait()
        server.network.close()
        remove(profile_dir)
        if not isinstance(error, (WebDriverException, urllib3.exceptions.HTTPError, OSError)):
            raise
        reason = watch.reason or f"the browser did not start ({first_line(error)})"
        raise LaunchFailed(
            f"{reason} after {time.monotonic() - began:.1f} s",
            tried=f"{' '.join(command)} with {installation.browser_path}",
            log_tail=log_tail,
            remedy=remedy,
        ) from error
    finally:
        watch.end()
    return LaunchedBrowser(
        installation=installation,
        options=options,
        session=session,
        server=server,
        display=display,
    )


def _programs(installation: Installation) -> list[Path]:
    """Browser and driver."""
    paths = (installation.browser_path, installation.driver_path)
    return [path.absolute() for path in paths if path is not None]


def _hand_over(installation: Installation, profile_dir: Path) -> None:
    """Give the private directories to the user as whom the browser runs, who must be able to start it."""
    user = processes.identity()
    if user is None:
        return
    for path in _programs(installation):
        if not (path.parent.stat().st_mode & path.stat().st_mode & stat.S_IXOTH):
            raise LaunchFailed(
                f"browsers run as user {user.uid}, who may not start {path}",
                tried="nothing",
                log_tail="",
                remedy=f"chmod -R a+rX {path.parent}; {processes.USER_VARIABLE}=root runs them as root",
            )
    user.own(profile_dir)
    user.own(scratch(profile_dir))


class _Watch:
    """Ends a launch early when there is no browser process: chromedriver would wait a minute for it."""

    def __init__(self, root: psutil.Process) -> None:
        self.reason = ""
        self._root = root
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webpool-launch-watch", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        absent_since = time.monotonic()
        while not self._over.wait(_LOOK_EVERY_S):
            roles = {each.role for each in label(processes.tree(self._root))}
            now = time.monotonic()
            if roles - {Role.CONTAINER, Role.DRIVER}:
                absent_since = now
            elif now - absent_since > _NO_BROWSER_S:
                self.reason = f"there was no browser process for {_NO_BROWSER_S:g} s"
                processes.kill_tree(self._root, deadline_s=5.0)
                return
