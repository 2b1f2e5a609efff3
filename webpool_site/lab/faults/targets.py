"""The processes of a pool, found in the process table alone: nobody in webpool is asked.

A process of the pool has its home in its environment. What it does is told from its command line; which
of several content processes shows our page, from the thread that every engine has: a Web Worker's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

import psutil

from browsers.drivers.launch import roles
from browsers.processes import running, tree


class Target(StrEnum):
    """What can be hurt: parts of a browser, and the pool's services."""

    PAGE = "page"
    """the content process that shows our page: Chromium's renderer, Firefox' tab, WebKit's web process"""
    GPU = "gpu"
    BROWSER = "browser"
    DRIVER = "driver"
    WORKER = "worker"
    CONTROL = "control"
    WEB = "web"
    VALKEY = "valkey"
    HISTORY = "history"
    BEAT = "beat"
    FORK_SERVER = "fork-server"


OF_BROWSER = (Target.PAGE, Target.GPU, Target.BROWSER, Target.DRIVER, Target.WORKER)
SERVICES = (
    Target.CONTROL, Target.WEB, Target.VALKEY, Target.HISTORY, Target.BEAT, Target.FORK_SERVER
)  # fmt: skip

_ROLE = {
    Target.PAGE: roles.Role.CONTENT,
    Target.GPU: roles.Role.GPU,
    Target.BROWSER: roles.Role.BROWSER,
    Target.DRIVER: roles.Role.DRIVER,
}
# How Chromium, Firefox and WebKit name the thread of a dedicated Web Worker.
_ENGINE_THREADS = (b"DedicatedWorker", b"DOM Worker", b"WebCore: Worker")
_QUEUE = "browser."
_PLAYED_BY = {
    Target.WEB: "webpool_site.web",
    Target.BEAT: "beat",
    Target.FORK_SERVER: "browsers.supervisor.fork_server",
}
_SERVICE_WORDS = frozenset({"celery", *_PLAYED_BY.values()} - {"beat"})


class NoTarget(Exception):
    """The pool has no such process now; the message says what was looked for."""


class Targets:
    """The processes of the pool on `home`, looked up anew at each question."""

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()
        self._mark = f"WEBPOOL_HOME={self._home}".encode()
        self._data = str(self._home / "valkey")

    def browsers(self) -> list[str]:
        """Ids of the browsers that have a worker now."""
        queues = (_queue(words) for _, words in self._services())
        return sorted(q.removeprefix(_QUEUE) for q in queues if q.startswith(_QUEUE))

    def find(self, target: Target, browser: str = "") -> psutil.Process:
        """The process that plays the part; `browser` is needed for the parts of one.

        Raises:
            NoTarget: there is none.
        """
        if target in SERVICES:
            return self._service(target)
        worker = self._worker(browser)
        if target == Target.WORKER:
            return worker
        found = [
            labelled.process
            for labelled in roles.label(tree(worker))
            if labelled.role == _ROLE[target]
        ]
        if target == Target.PAGE:
            found = [process for process in found if _has_engine(process)]
        if not found:
            raise NoTarget(f"{browser} has no process of its own for the part {target.value}")
        return _topmost(found)

    def processes(self) -> list[psutil.Process]:
        """Every process that was started for this home, browsers included, without ourselves."""
        mine = (pid for pid in psutil.pids() if pid != os.getpid() and self._is_ours(pid))
        return [process for pid in mine if (process := _living(pid)) is not None]

    def _services(self) -> Iterator[tuple[int, list[str]]]:
        """What the pool's supervisor started: process ids and command lines."""
        for pid in psutil.pids():
            words = _words(pid)
            if _SERVICE_WORDS.intersection(words) and self._is_ours(pid):
                yield pid, words

    def _is_ours(self, pid: int) -> bool:
        return self._mark in _read(f"/proc/{pid}/environ").split(b"\0")

    def _worker(self, browser: str) -> psutil.Process:
        for pid, words in self._services():
            if _queue(words) == f"{_QUEUE}{browser}" and (found := _living(pid)) is not None:
                return found
        raise NoTarget(f"{browser or 'no browser was named: it'} has no worker")

    def _service(self, target: Target) -> psutil.Process:
        pids = self._valkeys() if target == Target.VALKEY else self._pids_of(target)
        for pid in pids:
            if (found := _living(pid)) is not None:
                return found
        raise NoTarget(f"the pool on {self._home} has no process {target.value}")

    def _pids_of(self, target: Target) -> Iterator[int]:
        for pid, words in self._services():
            if _PLAYED_BY.get(target) in words or _queue(words) == target.value:
                yield pid

    def _valkeys(self) -> Iterator[int]:
        """It replaces its command line, and stays in its folder."""
        for pid in psutil.pids():
            if _read(f"/proc/{pid}/comm").startswith(b"valkey") and _folder(pid) == self._data:
                yield pid


def _queue(words: list[str]) -> str:
    """The queue that a Celery worker consumes; empty for any other process."""
    return words[words.index("-Q") + 1] if "celery" in words and "-Q" in words else ""


def _living(pid: int) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None
    return process if running(process) else None


def _has_engine(process: psutil.Process) -> bool:
    try:
        tasks = list(Path(f"/proc/{process.pid}/task").iterdir())
    except OSError:
        return False
    return any(_read(f"{task}/comm").startswith(_ENGINE_THREADS) for task in tasks)


def _topmost(found: Iterable[psutil.Process]) -> psutil.Process:
    """The one that is no child of another: a browser's main process forks helpers that look like it."""
    listed = list(found)
    pids = {process.pid for process in listed}
    return next((p for p in listed if _parent(p) not in pids), listed[0])


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return 0


def _words(pid: int) -> list[str]:
    return _read(f"/proc/{pid}/cmdline").decode(errors="replace").split("\0")[:-1]


def _read(path: str) -> bytes:
    """Nothing where the process has ended or may not be looked at."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _folder(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""
