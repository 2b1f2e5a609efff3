"""The supervisor as others see it: every door sends the loop a message or waits for it."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from browsers.supervisor.child import Child
from browsers.supervisor.logs import rotate, tail
from browsers.supervisor.loop import Loop
from browsers.supervisor.notices import Notices
from browsers.supervisor.records import (
    RUNNING,
    ChildStatus,
    Listener,
    ProcessSpec,
    State,
    SupervisorError,
)
from browsers.supervisor.watch import Watch

log = logging.getLogger(__name__)


class Supervisor:
    """Keeps a set of processes running; every method may be called from any thread.

    Logs go to `log_dir/<name>.log`, process ids to `run_dir/<name>.pid` (JSON: pid, started).
    """

    def __init__(self, *, log_dir: Path, run_dir: Path, listener: Listener | None = None) -> None:
        self._log_dir = log_dir
        self._run_dir = run_dir
        self._notices = Notices()
        self._loop = Loop(run_dir, listener or Listener(), self._notices)
        self._watch = Watch(self._loop)
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def _run(self) -> None:
        try:
            self._loop.run()
        finally:
            self._watch.end()

    def start(self, specs: Sequence[ProcessSpec]) -> None:
        """Start `specs` in their order as far as `after` allows; returns at once."""
        self._log_dir.mkdir(parents=True, exist_ok=True)
        self._run_dir.mkdir(parents=True, exist_ok=True)
        for spec in specs:
            self._check(spec, known=[other.name for other in specs])
            self._loop.children[spec.name] = Child(spec, self._new_log(spec.name))
        self._notices.start()
        self._thread.start()
        self._watch.start()

    def add(self, spec: ProcessSpec) -> None:
        """Start one more process; a stopped or failed one of the same name is replaced."""

        def act() -> None:
            child = self._loop.children.get(spec.name)
            if child is not None and child.state not in (State.STOPPED, State.FAILED):
                log.warning("%s is already %s: not added again", spec.name, child.state)
                return
            self._loop.children[spec.name] = Child(spec, self._new_log(spec.name))

        self._check(spec, known=list(self._loop.children))
        self._loop.messages.put(act)

    def remove(self, name: str) -> None:
        """Stop one process and keep it down; returns at once, `on_exit` tells when it is gone."""

        def act() -> None:
            child.wanted = False
            if child.state in RUNNING:
                self._loop.signal_stop(child)
            else:
                self._loop.set(child, State.STOPPED)

        child = self._child(name)
        self._loop.messages.put(act)

    def restart(self, name: str) -> None:
        """Stop one process and start it again without delay; also ends a back-off or a failure."""

        def act() -> None:
            child.failures = 0
            child.wanted = True
            if child.state in RUNNING:
                self._loop.signal_stop(child)
            else:
                self._loop.set(child, State.WAITING)

        child = self._child(name)
        self._loop.messages.put(act)

    def wait_ready(
        self, timeout_s: float, *, names: Iterable[str] | None = None, at_least: int | None = None
    ) -> None:
        """Wait until the children (all, or those named, or `at_least` so many) are ready.

        Raises `SupervisorError` when one gave up, when the supervisor stops, or after `timeout_s`.
        """
        wanted = [
            self._child(name) for name in (list(self._loop.children) if names is None else names)
        ]
        enough = len(wanted) if at_least is None else min(at_least, len(wanted))
        deadline = time.monotonic() + timeout_s
        with self._loop.changed:
            while True:
                if self._loop.failure:
                    raise SupervisorError(self._loop.failure)
                failed = [child for child in wanted if child.state is State.FAILED]
                missing = [child for child in wanted if child.state is not State.READY]
                if len(wanted) - len(missing) >= enough:
                    return
                if failed and len(wanted) - len(failed) < enough:
                    raise SupervisorError(failed[0].why())
                if self._loop.stopping or not self._thread.is_alive():
                    raise SupervisorError("the processes are being stopped")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise SupervisorError(
                        f"not ready within {timeout_s:.0f} s: "
                        + ", ".join(f"{child.spec.name} ({child.state})" for child in missing)
                        + f". Last lines of {missing[0].log_path}:\n{tail(missing[0].log_path)}"
                    )
                self._loop.changed.wait(left)

    def wait_stopped(self, timeout_s: float | None = None) -> bool:
        """Wait until every child is gone, by `stop` or by failure; False after `timeout_s`."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        self._notices.join(timeout_s)
        return True

    def stop(self, timeout_s: float = 30.0) -> None:
        """Stop all children gracefully; what still runs after `timeout_s` is killed. Idempotent."""
        if not self._thread.ident:
            return
        self._loop.messages.put(self._loop.begin_stop)
        if not self.wait_stopped(timeout_s):
            self.kill()
            self.wait_stopped(10.0)

    def kill(self) -> None:
        """Kill all children now: the answer to a second Ctrl-C."""

        def act() -> None:
            self._loop.begin_stop()
            for child in self._loop.children.values():
                child.kill_group()

        self._loop.messages.put(act)

    def status(self) -> tuple[ChildStatus, ...]:
        """A snapshot, in the order in which the children were given."""
        return tuple(child.status() for child in list(self._loop.children.values()))

    @property
    def failure(self) -> str | None:
        """Why the supervisor stopped by itself: a critical child gave up."""
        return self._loop.failure

    def _child(self, name: str) -> Child:
        try:
            return self._loop.children[name]
        except KeyError:
            known = ", ".join(self._loop.children)
            raise SupervisorError(f"no process named {name!r}: there are {known}") from None

    def _check(self, spec: ProcessSpec, *, known: Sequence[str]) -> None:
        needed = spec.after if spec.forked_by is None else (*spec.after, spec.forked_by)
        unknown = [name for name in needed if name not in known]
        if unknown:
            raise SupervisorError(f"{spec.name} is to start after {unknown[0]}, which is not there")
        if spec.forked_by is not None and spec.argv[:2] != (sys.executable, "-m"):
            raise SupervisorError(
                f"{spec.name} cannot be forked: expected a module's command, got {spec.argv}"
            )

    def _new_log(self, name: str) -> Path:
        path = self._log_dir / f"{name}.log"
        rotate(path, only_above_bytes=0)
        return path
