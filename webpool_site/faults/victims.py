"""The processes of a pool, found in the process table alone: nobody in webpool is asked.

A process of the pool has its home in its environment. What it does is told from its command line; which
of several content processes shows our page, from the thread that every engine has: a Web Worker's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

import psutil

from browsers.drivers import roles
from browsers.processes import running, tree


class Victim(StrEnum):
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


OF_BROWSER = (Victim.PAGE, Victim.GPU, Victim.BROWSER, Victim.DRIVER, Victim.WORKER)
SERVICES = (Victim.CONTROL, Victim.WEB, Victim.VALKEY, Victim.HISTORY, Victim.BEAT)

_ROLE = {
    Victim.PAGE: roles.Role.CONTENT,
    Victim.GPU: roles.Role.GPU,
    Victim.BROWSER: roles.Role.BROWSER,
    Victim.DRIVER: roles.Role.DRIVER,
}
# How Chromium, Firefox and WebKit name the thread of a dedicated Web Worker.
_ENGINE_THREADS = ("DedicatedWorker", "DOM Worker", "WebCore: Worker")
_QUEUE = "browser."


class NoVictim(Exception):
    """The pool has no such process now; the message says what was looked for."""


class Victims:
    """The processes of the pool on `home`, looked up anew at each question."""

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()

    def browsers(self) -> list[str]:
        """Ids of the browsers that have a worker now."""
        queues = (_queue(process) for process in self._of_home())
        return sorted(q.removeprefix(_QUEUE) for q in queues if q.startswith(_QUEUE))

    def find(self, victim: Victim, browser: str = "") -> psutil.Process:
        """The process that plays the part; `browser` is needed for the parts of one.

        Raises:
            NoVictim: there is none.
        """
        if victim in SERVICES:
            return self._service(victim)
        worker = self._worker(browser)
        if victim == Victim.WORKER:
            return worker
        found = [
            labelled.process
            for labelled in roles.label(tree(worker))
            if labelled.role == _ROLE[victim]
        ]
        if victim == Victim.PAGE:
            found = [process for process in found if _has_engine(process)]
        if not found:
            raise NoVictim(f"{browser} has no process of its own for the part {victim.value}")
        return _topmost(found)

    def processes(self) -> list[psutil.Process]:
        """Every process that was started for this home, browsers included, without ourselves."""
        return [process for process in self._of_home() if process.pid != os.getpid()]

    def _of_home(self) -> list[psutil.Process]:
        mark = f"WEBPOOL_HOME={self._home}".encode()
        return [
            process
            for process in psutil.process_iter()
            if running(process) and mark in _environment(process)
        ]

    def _worker(self, browser: str) -> psutil.Process:
        for process in self._of_home():
            if _queue(process) == f"{_QUEUE}{browser}":
                return process
        raise NoVictim(f"{browser or 'no browser was named: it'} has no worker")

    def _service(self, victim: Victim) -> psutil.Process:
        for process in psutil.process_iter():
            if running(process) and self._is_service(process, victim):
                return process
        raise NoVictim(f"the pool on {self._home} has no process {victim.value}")

    def _is_service(self, process: psutil.Process, victim: Victim) -> bool:
        words = _words(process)
        if victim == Victim.VALKEY:  # it replaces its command line, and stays in its folder
            return "valkey" in _name(process) and _folder(process) == self._home / "valkey"
        if f"WEBPOOL_HOME={self._home}".encode() not in _environment(process):
            return False
        if victim == Victim.WEB:
            return "uvicorn" in words
        if victim == Victim.BEAT:
            return "celery" in words and "beat" in words
        return _queue(process) == victim.value


def _queue(process: psutil.Process) -> str:
    """The queue that a Celery worker consumes; empty for any other process."""
    words = _words(process)
    if "celery" not in words or "-Q" not in words:
        return ""
    return words[words.index("-Q") + 1]


def _has_engine(process: psutil.Process) -> bool:
    try:
        tasks = list(Path(f"/proc/{process.pid}/task").iterdir())
    except OSError:
        return False
    return any(_thread_name(task).startswith(_ENGINE_THREADS) for task in tasks)


def _thread_name(task: Path) -> str:
    try:
        return (task / "comm").read_text()
    except OSError:
        return ""


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


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""


def _folder(process: psutil.Process) -> Path | None:
    try:
        return Path(process.cwd())
    except (psutil.Error, OSError):
        return None


def _environment(process: psutil.Process) -> list[bytes]:
    try:
        return Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
