"""What a process of a browser's tree does, told from its command line."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import psutil

from browsers.processes.containment import BROKER
from browsers.processes.lookout import Seen


class Role(StrEnum):
    CONTAINER = "container"
    """our wrappers around the driver"""
    DISPLAY = "display"
    """the X server of a browser that cannot do without one"""
    DRIVER = "driver"
    BROWSER = "browser"
    """the main process"""
    CONTENT = "content"
    """runs a page: Chromium calls it renderer, Firefox content, WebKit web process"""
    GPU = "gpu"
    OTHER = "other"


@dataclass(frozen=True)
class TreeProcess:
    role: Role
    process: psutil.Process


_BROKER = BROKER[-1]
_DRIVERS = ("chromedriver", "geckodriver", "msedgedriver", "safaridriver", "WebKitWebDriver")
_BROWSERS = ("chromium", "chrome", "firefox", "MiniBrowser", "msedge", "Safari")
_FIREFOX_OWN = ("WebExtensions", "Privileged Cont")
"""Names of content processes that show no page of ours."""


def _of(program: str, name: str, arguments: list[str]) -> Role:
    if program.startswith(_DRIVERS):
        return Role.DRIVER
    if program in ("unshare", "setpriv") or _BROKER in arguments:
        return Role.CONTAINER
    if program in ("Xvfb", "xkbcomp"):
        return Role.DISPLAY
    if "--top-chrome-webui" in arguments:
        return Role.OTHER  # a renderer that Chromium keeps for its own dialogs
    if program == "WebKitWebProcess" or "--type=renderer" in arguments:
        return Role.CONTENT
    if program == "WebKitGPUProcess" or "--type=gpu-process" in arguments:
        return Role.GPU
    if "-contentproc" in arguments:
        if arguments[-1] == "tab":
            return Role.OTHER if name in _FIREFOX_OWN else Role.CONTENT
        return Role.GPU if arguments[-1] == "gpu" else Role.OTHER
    if any(argument.startswith("--type=") for argument in arguments) or "crashpad" in program:
        return Role.OTHER
    if program.startswith(_BROWSERS):
        return Role.BROWSER
    return Role.OTHER


def label(processes: Iterable[psutil.Process]) -> tuple[TreeProcess, ...]:
    """The processes with their roles, parents as given; those that ended meanwhile are left out."""
    found = []
    for process in processes:
        try:
            line = process.cmdline()
            # Chromium rewrites the command line of what its zygote forks into one string.
            arguments = line if len(line) > 1 else line[0].split()
            name = process.name()
        except (psutil.Error, IndexError):
            continue  # one that is ending has no command line any more
        program = arguments[0].rpartition("/")[2] if arguments else name
        found.append(TreeProcess(role=_of(program, name, arguments), process=process))
    return tuple(found)


_SETTLED_S = 1.0
"""A process that was just forked is not what it will be."""


class Labels:
    """Roles of processes that are looked at again and again: read until they have settled, then known."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, float], tuple[Role, float]] = {}  # and when first seen
        self._lock = threading.Lock()

    def of(self, tree: Sequence[Seen]) -> tuple[tuple[Role, Seen], ...]:
        """Those that ended meanwhile are left out."""
        with self._lock:
            before, self._known = self._known, {}
            now = time.monotonic()
            for seen in tree:
                role, since = before.get(seen.identity, (None, now))
                if role is None or now - since < _SETTLED_S:
                    role = next((each.role for each in label([seen.process])), None)
                if role is not None:
                    self._known[seen.identity] = role, since
            return tuple(
                (known[0], seen) for seen in tree if (known := self._known.get(seen.identity))
            )
