"""The loop: one thread that starts every child and keeps all state; others send it messages."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from browsers.supervisor.child import Child
from browsers.supervisor.leftovers import write_pid
from browsers.supervisor.logs import LOG_LIMIT_BYTES, append, rotate
from browsers.supervisor.notices import Notices
from browsers.supervisor.records import RUNNING, Listener, State, describe_exit
from browsers.supervisor.starting import Channel, NoForkServer, Process, start_program

log = logging.getLogger(__name__)
_LOOK_AT_LOGS_EVERY_S = 5.0

READY_POLL_S = 0.05


class Loop:
    """What the supervisor's thread does.

    Attributes:
        children: by name, in the order in which they were given.
        messages: what is to be done in the thread; the only way in for others.
        changed: notified when a child's state changes, and at the end.
        failure: why everything stops by itself: a critical child gave up.
    """

    def __init__(self, run_dir: Path, listener: Listener, notices: Notices) -> None:
        self.children: dict[str, Child] = {}
        self.messages: queue.Queue[Callable[[], None]] = queue.Queue()
        self.changed = threading.Condition()
        self.stopping = False
        self.failure: str | None = None
        self._logs_at = 0.0
        self._run_dir = run_dir
        self._listener = listener
        self._notices = notices

    def run(self) -> None:
        try:
            while not self._finished():
                self._act_on_time()
                try:
                    message = self.messages.get(timeout=self._until_next())
                except queue.Empty:
                    continue
                message()
        finally:
            self._notices.end()
            with self.changed:
                self.changed.notify_all()

    def _finished(self) -> bool:
        return self.stopping and not any(c.state in RUNNING for c in self.children.values())

    def _until_next(self) -> float:
        due = [child.due_at for child in self.children.values() if child.due_at is not None]
        return max(0.0, min([*due, self._logs_at]) - time.monotonic())

    def _act_on_time(self) -> None:
        """Start what may start, kill what missed its deadline, go on with the stop."""
        now = time.monotonic()
        if now >= self._logs_at:
            self._rotate_logs()
        for child in list(self.children.values()):
            due = child.due_at is not None and now >= child.due_at
            if child.state in (State.STARTING, State.STOPPING) and due:
                child.due_at = None
                child.overdue = True
                log.warning("%s missed its deadline while %s", child.spec.name, child.state)
                child.kill_group()
            elif child.state is State.BACKING_OFF and due:
                child.due_at = None
                self.set(child, State.WAITING)
            if child.state is State.WAITING and not self.stopping and self._may_start(child):
                self._spawn(child)
        if self.stopping:
            for child in self.children.values():
                if child.state in (State.STARTING, State.READY) and not self._needed(child):
                    self.signal_stop(child)

    def _rotate_logs(self) -> None:
        """Keep every log within its size, also of a child that lives for ever."""
        self._logs_at = time.monotonic() + _LOOK_AT_LOGS_EVERY_S
        for child in self.children.values():
            with contextlib.suppress(OSError):  # it goes on growing
                rotate(child.log_path, only_above_bytes=LOG_LIMIT_BYTES)

    def _may_start(self, child: Child) -> bool:
        """A first start waits for its dependencies; a restart does not: they heal by themselves.

        What a fork server makes waits for that one each time.
        """
        if child.spec.forked_by is not None:
            server = self.children[child.spec.forked_by]
            if server.channel is None or server.state is not State.READY:
                return False
        return child.starts > 0 or all(
            self.children[name].state is State.READY for name in child.spec.after
        )

    def _needed(self, child: Child) -> bool:
        name = child.spec.name
        others = self.children.values()
        return any(name in other.spec.after and other.state in RUNNING for other in others)

    def _spawn(self, child: Child) -> None:
        spec = child.spec
        child.starts += 1
        child.ready_s = None
        child.overdue = False
        child.started_at = time.monotonic()
        try:
            append(child.log_path, f"--- start {child.starts} of {spec.name}\n")
            with child.log_path.open("ab") as output:
                process = self._start(child, output)
        except NoForkServer as error:
            self._without_fork_server(child, str(error))
            return
        except OSError as error:
            log.error("%s could not be started: %s", spec.name, error)
            append(child.log_path, f"{spec.name} could not be started: {error}\n")
            self._after_exit(child, 127)
            return
        child.process = process
        try:
            write_pid(self._pid_path(child), process.pid)
        except OSError as error:  # only who comes after a killed supervisor would have read it
            log.error("the id of %s was not written down: %s", spec.name, error)
        self.set(child, State.STARTING)
        if spec.start_timeout_s is not None:
            child.due_at = child.started_at + spec.start_timeout_s
        self._notices.tell(self._listener.on_started, spec, process.pid)
        _thread(f"wait-{spec.name}", self._wait_exit, child, process)
        ready = spec.ready
        if channel := child.channel:
            ready = lambda _pid: channel.is_ready()  # noqa: E731
        if ready is None:
            self._became_ready(child, process)
        else:
            _thread(f"ready-{spec.name}", self._wait_child_ready, child, process, ready)

    def _start(self, child: Child, output: IO[bytes]) -> Process:
        spec = child.spec
        if spec.forked_by is not None:
            channel = self.children[spec.forked_by].channel
            if channel is None:
                raise NoForkServer("there is none")
            return channel.fork(spec, output)
        child.hang_up()
        channel = Channel() if spec.fork_server else None
        try:
            process = start_program(spec, output, channel)
        except OSError:
            if channel:
                channel.close()
            raise
        child.channel = channel
        return process

    def _without_fork_server(self, child: Child, why: str) -> None:
        """The child waits for another one, which is started as soon as the exit of this one is seen."""
        server = self.children[child.spec.forked_by or ""]
        log.warning("%s waits for another %s: %s", child.spec.name, server.spec.name, why)
        server.hang_up()
        server.kill_group()
        child.starts -= 1

    def _wait_exit(self, child: Child, process: Process) -> None:
        """Waits for the exit without reaping, so that the group can be killed under its own id."""
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        returncode = process.wait()
        self.messages.put(functools.partial(self._exited, child, process, returncode))

    def _wait_child_ready(
        self, child: Child, process: Process, ready: Callable[[int], bool]
    ) -> None:
        while process.returncode is None and child.process is process:
            try:
                if ready(process.pid):
                    break
            except Exception:
                log.exception("the readiness check of %s failed", child.spec.name)
                time.sleep(1.0)
            time.sleep(READY_POLL_S)
        else:
            return
        self.messages.put(functools.partial(self._became_ready, child, process))

    def _became_ready(self, child: Child, process: Process) -> None:
        if child.process is not process or child.state is not State.STARTING:
            return
        child.due_at = None
        child.ready_s = time.monotonic() - child.started_at
        told = child.spec.ready is not None or child.spec.fork_server
        child.worked = child.worked or told
        self.set(child, State.READY)
        self._notices.tell(self._listener.on_ready, child.spec, child.ready_s)

    def _exited(self, child: Child, process: Process, returncode: int) -> None:
        if child.process is process:
            child.process = None
            self._pid_path(child).unlink(missing_ok=True)
            self._after_exit(child, returncode)

    def _after_exit(self, child: Child, returncode: int) -> None:
        spec = child.spec
        expected = child.state is State.STOPPING
        child.last_returncode = returncode
        child.due_at = None
        child.hang_up()
        self._notices.tell(self._listener.on_exit, spec, returncode, expected=expected)
        if self.stopping or not child.wanted:
            self.set(child, State.STOPPED)
            return
        if expected:
            self.set(child, State.WAITING)
            return
        lived_s = time.monotonic() - child.started_at
        # Somebody killed it: that says nothing of its code, and however often it happens, it comes back.
        killed = returncode == -signal.SIGKILL and not child.overdue
        healthy = child.ready_s is not None and (killed or lived_s >= spec.restart.healthy_after_s)
        child.failures = 1 if healthy else child.failures + 1
        log.warning("%s ended with %s", spec.name, describe_exit(returncode))
        if not killed and not child.worked and spec.restart.gives_up(child.failures):
            self.set(child, State.FAILED)
            self._notices.tell(self._listener.on_gave_up, spec, child.why())
            if spec.critical:
                self.failure = child.why()
                self.begin_stop()
            return
        child.due_at = time.monotonic() + spec.restart.delay_s(child.failures)
        self.set(child, State.BACKING_OFF)

    def begin_stop(self) -> None:
        self.stopping = True
        for child in self.children.values():
            if child.state in (State.WAITING, State.BACKING_OFF):
                child.due_at = None
                self.set(child, State.STOPPED)

    def signal_stop(self, child: Child) -> None:
        if child.state is State.STOPPING or child.process is None:
            return
        child.due_at = time.monotonic() + child.spec.stop_timeout_s
        self.set(child, State.STOPPING)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.process.pid, child.spec.stop_signal)

    def put_down(self, child: Child, process: Process, why: str) -> None:
        """Kill a child that stands still, unless it is another process by now."""
        if child.process is not process:
            return
        log.warning("%s is killed: %s", child.spec.name, why)
        self._notices.tell(self._listener.on_put_down, child.spec, why)
        child.kill_group()

    def set(self, child: Child, state: State) -> None:
        with self.changed:
            child.state = state
            self.changed.notify_all()

    def _pid_path(self, child: Child) -> Path:
        return self._run_dir / f"{child.spec.name}.pid"


def _thread(name: str, target: Callable[..., None], *args: object) -> None:
    threading.Thread(target=target, args=args, name=name, daemon=True).start()
