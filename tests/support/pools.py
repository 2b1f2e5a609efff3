"""Pools that the files of one process share: one runs at a time, for as long as the next test needs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.stack import RunningStack, free_port

COLLECTED_S = 20.0
READY_AGAIN_S = 180.0
"""What hurt a pool may be mended still when the next file begins; longer, and that one gets another pool."""


@dataclass(frozen=True)
class Kind:
    """How a shared pool is started."""

    browsers: str = "auto"
    backends: str = ""
    sample: bool = False
    env: Mapping[str, str] = field(default_factory=dict)


_PATIENT = {"WEBPOOL_BROWSER_START_S": "180", "WEBPOOL_RUN_DEADLINE_S": "180"}
"""A busy machine may need long to bring a browser back, or to compute a run: neither fails for that."""
FOREIGN_PORT = free_port()
"""Of the other site whose pages may call `stack` (tests/support/foreign_page.py)."""
GRPC_PORT = free_port()
"""On which `stack` answers gRPC."""
_STACK = {
    "WEBPOOL_CHROMIUM_FLAGS": "",  # as people have it (see tests/support/home.py)
    "WEBPOOL_CORS_ORIGINS": f"http://127.0.0.1:{FOREIGN_PORT}",
    "WEBPOOL_GRPC_PORT": str(GRPC_PORT),
    "WEBPOOL_BROWSER_START_S": "180",
    # Of the hundreds of models that its files run, each would be loaded in another browser, too.
    "WEBPOOL_STANDBYS": "0",
}
KINDS = {
    "stack": Kind(sample=True, env=_STACK),
    "pair": Kind("chromium,firefox", "wasm", env=_PATIENT),
    "trio": Kind(
        "chromium,firefox,webkitgtk", "wasm", sample=True, env=_PATIENT | {"WEBPOOL_STANDBYS": "0"}
    ),
}
"""By the name of the fixture that lends the pool."""


class Pools:
    """The pool that is lent now, if any."""

    def __init__(self, folder: Callable[[str], Path]) -> None:
        self._folder = folder
        self._name = ""
        self._running: RunningStack | None = None

    def lend(self, name: str) -> RunningStack:
        """The pool of that name, whole and with nothing to do: the one that runs, or another."""
        running = self._running
        if running is not None and (self._name != name or not _is_whole(running)):
            self.end()
            running = None
        if running is None:
            running = _started(KINDS[name], self._folder(name))
            self._name, self._running = name, running
        return running

    def end_unless(self, name: str | None) -> None:
        """A pool at rest takes memory and a quarter of a core: it ends with the last test that needs it."""
        if self._running is not None and name != self._name:
            self.end()

    def end(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            stop(running)


def _started(kind: Kind, home: Path) -> RunningStack:
    made = RunningStack(
        home, browsers=kind.browsers, backends=kind.backends, extra_env=dict(kind.env)
    )
    if kind.sample:
        made.add_sample()
    else:
        made.migrate()
    try:
        made.start()
    except BaseException:
        made.stop()
        raise
    return made


def _is_whole(pool: RunningStack) -> bool:
    """Whether it serves, once what the last file left was put right."""
    if pool.process is None or pool.process.poll() is not None:
        return False
    try:
        pool.wait_ready(timeout_s=READY_AGAIN_S)
        for run in pool.get("/api/runs/?state=running&limit=1000")["results"]:
            pool.post(f"/api/runs/{run['id']}/cancel/", {})
        for row in pool.browser_rows():
            pool.post(f"/api/browsers/{row['id']}/breaker/reset/", {})
            if row["drained_at"]:
                pool.post(f"/api/browsers/{row['id']}/undrain/", {})
    except (AssertionError, OSError):
        return False
    return True


def stop(running: RunningStack) -> None:
    """As its operator does; nothing may be left of it."""
    zombies = _kept_zombies(running)
    running.stop()
    assert not running.wait_gone(), "processes outlived the stack"
    assert not zombies, "dead children were not collected"


def _kept_zombies(running: RunningStack) -> list[psutil.Process]:
    """Dead children that nobody collects: whoever was killed a moment ago is one for a while."""
    until = time.monotonic() + COLLECTED_S
    while (found := running.zombies()) and time.monotonic() < until:
        time.sleep(0.1)
    return found
