"""A pool of one's own, in a home of its own: what is hurt there serves nobody else.

A process reads its home once, at its start. So `enter` starts this command anew in that home, and
`OwnPool` then runs `manage.py up` there as a process of its own, as an operator would.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
from django.conf import settings

from browsers.core.failures import Category
from browsers.lifeline import dies_with_parent
from inference.errors import WebpoolError
from webpool_site.browser_list import choose
from webpool_site.instance import Instance
from webpool_site.lab.faults.health import NotHealed, wait_whole
from webpool_site.lab.faults.targets import Targets

_ENTERED = "WEBPOOL_OWN_HOME"
_STOP_WITHIN_S = 60.0
_GONE_WITHIN_S = 30.0


class PoolFailed(WebpoolError):
    """The pool of one's own did not start or did not stop; the message names its log."""

    category = Category.UNAVAILABLE


def enter(name: str) -> None:
    """Go on in `<home>/<name>`, emptied, as the same command; returns when this is it already.

    Raises:
        PoolFailed: a pool runs there.
    """
    home: Path = settings.WEBPOOL_HOME
    if os.environ.get(_ENTERED) == str(home):
        return
    own = home / name
    if Instance(own).running():
        raise PoolFailed(
            f"a pool runs on {own}: another {name} is under way; wait for it or stop it"
        )
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    if (home / "tools").is_dir():  # unpacked browsers, read only
        (own / "tools").symlink_to(home / "tools")
    kept = {k: v for k, v in os.environ.items() if k != "WEBPOOL_REDIS_URL"}
    ours = {"WEBPOOL_HOME": str(own), _ENTERED: str(own), "PORT": str(_free_port())}
    os.execve(sys.executable, [sys.executable, *sys.argv], {**kept, **ours})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class OwnPool:
    """`manage.py up` on this process's home; a context manager.

    Attributes:
        browsers: ids of those it runs.
        left: processes that outlived it; known once it was stopped.
    """

    def __init__(self, browsers: str) -> None:
        self.home: Path = settings.WEBPOOL_HOME
        self.browsers = tuple(slot.id for slot in choose(browsers, home=self.home))
        self.left: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = browsers

    @property
    def log_path(self) -> Path:
        return self.home / "logs" / "up.log"

    def start(self, *, timeout_s: float = 240.0) -> None:
        """Start and wait until everything is there.

        Raises:
            PoolFailed: it did not get ready.
        """
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *dies_with_parent(),
                    sys.executable,
                    "-m",
                    "webpool_site.command_line",
                    "up",
                    "--browsers",
                    self._wanted,
                ],
                cwd=settings.BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_whole(self.home, self.browsers, timeout_s=timeout_s)
        except NotHealed as error:
            self.stop()
            raise PoolFailed(f"the pool did not start ({error}); see {self.log_path}") from error

    def stop(self) -> None:
        """Ctrl-C, and SIGKILL where that does not help; then see what is left."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self.left = self._wait_gone()

    def power_cut(self) -> None:
        """SIGKILL of every process of the pool at once."""
        assert self._process is not None
        for process in self._processes():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._process.wait()

    def _wait_gone(self) -> tuple[str, ...]:
        until = time.monotonic() + _GONE_WITHIN_S
        while (there := self._processes()) and time.monotonic() < until:
            time.sleep(0.05)
        return tuple(f"{process.name()} ({process.pid})" for process in there)

    def _processes(self) -> list[psutil.Process]:
        """Those of this home, without this command's own."""
        mine = {process.pid for process in psutil.Process().parents()}
        helpers = {p.pid for p in psutil.Process().children(recursive=True)}
        if self._process is not None:
            helpers -= {self._process.pid}
        return [p for p in Targets(self.home).processes() if p.pid not in mine | helpers]

    def __enter__(self) -> OwnPool:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
