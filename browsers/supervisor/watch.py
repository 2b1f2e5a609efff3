"""A child that stands still ends no process: look for those that were stopped, or show no sign of life."""

from __future__ import annotations

import functools
import logging
import threading
import time

from browsers.process_stat import stat
from browsers.supervisor.child import Child
from browsers.supervisor.loop import Loop
from browsers.supervisor.records import RUNNING, State
from browsers.supervisor.starting import Process

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.25


class Watch:
    """A thread that looks at every child four times a second, and has those killed that stand still.

    Being killed is the only thing that helps a child stopped by SIGSTOP: nobody else may have it go on,
    and what it holds (a lease, a browser, a queue) waits as long as it stands.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._end = threading.Event()
        self._stopped_since: dict[int, float] = {}  # by process id
        self._thread = threading.Thread(target=self._run, name="supervisor-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._end.set()

    def _run(self) -> None:
        while not self._end.wait(LOOK_EVERY_S):
            seen = set()
            for child in list(self._loop.children.values()):
                process = child.process
                if process is None or child.state not in RUNNING:
                    continue
                seen.add(process.pid)
                try:
                    why = self._why_put_down(child, process)
                except Exception:
                    log.exception("%s could not be looked at", child.spec.name)
                    continue
                if why:
                    self._loop.messages.put(
                        functools.partial(self._loop.put_down, child, process, why)
                    )
            self._stopped_since = {p: at for p, at in self._stopped_since.items() if p in seen}

    def _why_put_down(self, child: Child, process: Process) -> str:
        now = time.monotonic()
        if _is_stopped(process.pid):
            since = self._stopped_since.setdefault(process.pid, now)
            if now - since >= child.spec.stopped_timeout_s:
                return f"it was stopped (SIGSTOP) for {now - since:.1f} s"
            return ""
        resumed = self._stopped_since.pop(process.pid, None) is not None
        if child.spec.silent_s is None or child.state is not State.READY or resumed:
            return ""
        silent_s = child.spec.silent_s()
        if silent_s is not None and silent_s > child.spec.silent_timeout_s:
            return f"it showed no sign of life for {silent_s:.0f} s"
        return ""


def _is_stopped(pid: int) -> bool:
    """By a signal; a process that a debugger holds is not."""
    now = stat(pid)
    return now is not None and now.stopped
