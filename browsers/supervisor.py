"""Start processes, notice their exit, restart them with back-off, and stop them in order.

How it works
1. One thread, the loop, starts every child and keeps all state. The others only send it messages:
   a thread per child that waits for its exit, a thread per start that asks whether it is ready.
2. A child starts once everything it is `after` is ready. It gets a session of its own, and asks the
   kernel to kill it when the loop's thread ends, so that `kill -9` of the supervisor takes it down.
3. A child that exits is reported first, then started again after `Restart.delay_s`. A critical one
   that keeps failing makes the whole supervisor fail.
4. `stop` signals children that nobody running depends on, in parallel, then those they depended on;
   whoever misses its deadline is killed with its process group.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import json
import logging
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from browsers.lifeline import dies_with_parent

log = logging.getLogger(__name__)

LOG_LIMIT_BYTES = 20 * 2**20
LOGS_KEPT = 3
READY_POLL_S = 0.05


class SupervisorError(Exception):
    """A process of the stack could not be started or kept running; the message names its log."""


@dataclasses.dataclass(frozen=True)
class Restart:
    """When a child that exited is started again.

    The first restart comes after `first_delay_s`; each further failure multiplies the delay by
    `factor` up to `max_delay_s`. A child that stayed up for `healthy_after_s` starts from the first
    delay again. `give_up_after` failures in a row end the attempts; None goes on for ever.
    """

    first_delay_s: float = 0.1
    factor: float = 2.0
    max_delay_s: float = 30.0
    healthy_after_s: float = 30.0
    give_up_after: int | None = None

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after the `failures`-th failure in a row (1 is the first)."""
        exponent = min(failures - 1, 64)
        return min(self.max_delay_s, self.first_delay_s * self.factor**exponent)

    def gives_up(self, failures: int) -> bool:
        return self.give_up_after is not None and failures >= self.give_up_after


@dataclasses.dataclass(frozen=True)
class ProcessSpec:
    """A process to keep running.

    `env` is added to the supervisor's environment. `ready(pid)` says whether the process with that
    id does its work; without it the process counts as ready once started. `after` names the
    children that must be ready first, and that are stopped only after this one. A child that is
    not ready within `start_timeout_s` is killed, which counts as a failure. `critical`: when it
    gives up, so does the supervisor.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cwd: Path | None = None
    ready: Callable[[int], bool] | None = None
    after: tuple[str, ...] = ()
    restart: Restart = Restart()
    critical: bool = False
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 10.0
    start_timeout_s: float | None = None


class State(enum.StrEnum):
    WAITING = "waiting"  # for what it is `after`
    STARTING = "starting"
    READY = "ready"
    BACKING_OFF = "backing off"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"  # gave up


RUNNING = frozenset({State.STARTING, State.READY, State.STOPPING})


@dataclasses.dataclass(frozen=True)
class ChildStatus:
    """What the supervisor knows of one child; `ready_s` is how long its last start took."""

    name: str
    state: State
    pid: int | None
    starts: int
    failures: int
    ready_s: float | None
    last_returncode: int | None
    log_path: Path


class Listener:
    """Told what happens, in order, in a thread of its own; override what is of interest."""

    def on_started(self, spec: ProcessSpec, pid: int) -> None: ...

    def on_ready(self, spec: ProcessSpec, seconds: float) -> None: ...

    def on_exit(self, spec: ProcessSpec, returncode: int, *, expected: bool) -> None:
        """`returncode` is negative for a signal; `expected`: a stop or restart was asked for."""

    def on_gave_up(self, spec: ProcessSpec, message: str) -> None: ...


class _Child:
    """One child's mutable state; only the loop's thread changes it."""

    def __init__(self, spec: ProcessSpec, log_path: Path) -> None:
        self.spec = spec
        self.log_path = log_path
        self.state = State.WAITING
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.failures = 0
        self.started_at = 0.0
        self.ready_s: float | None = None
        self.due_at: float | None = None  # to start again, or to be killed
        self.wanted = True  # False: it is to stop and to stay down
        self.last_returncode: int | None = None

    def status(self) -> ChildStatus:
        running = self.process if self.state in RUNNING else None
        return ChildStatus(
            name=self.spec.name,
            state=self.state,
            pid=running.pid if running else None,
            starts=self.starts,
            failures=self.failures,
            ready_s=self.ready_s,
            last_returncode=self.last_returncode,
            log_path=self.log_path,
        )


class Supervisor:
    """Keeps a set of processes running; every method may be called from any thread.

    Logs go to `log_dir/<name>.log`, process ids to `run_dir/<name>.pid` (JSON: pid, started).
    """

    def __init__(self, *, log_dir: Path, run_dir: Path, listener: Listener | None = None) -> None:
        self._log_dir = log_dir
        self._run_dir = run_dir
        self._listener = listener or Listener()
        self._children: dict[str, _Child] = {}
        self._messages: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._notices: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._changed = threading.Condition()
        self._stopping = False
        self._failure: str | None = None
        self._loop = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._notifier = threading.Thread(target=self._notify, name="supervisor-notices")

    # --- what others call -------------------------------------------------------------------

    def start(self, specs: Sequence[ProcessSpec]) -> None:
        """Start `specs` in their order as far as `after` allows; returns at once."""
        self._log_dir.mkdir(parents=True, exist_ok=True)
        self._run_dir.mkdir(parents=True, exist_ok=True)
        for spec in specs:
            self._check(spec, known=[other.name for other in specs])
            self._children[spec.name] = _Child(spec, self._new_log(spec.name))
        self._notifier.daemon = True
        self._notifier.start()
        self._loop.start()

    def add(self, spec: ProcessSpec) -> None:
        """Start one more process; a stopped or failed one of the same name is replaced."""

        def act() -> None:
            child = self._children.get(spec.name)
            if child is not None and child.state not in (State.STOPPED, State.FAILED):
                log.warning("%s is already %s: not added again", spec.name, child.state)
                return
            self._children[spec.name] = _Child(spec, self._new_log(spec.name))

        self._check(spec, known=list(self._children))
        self._messages.put(act)

    def remove(self, name: str) -> None:
        """Stop one process and keep it down; returns at once, `on_exit` tells when it is gone."""

        def act() -> None:
            child.wanted = False
            if child.state in RUNNING:
                self._signal_stop(child)
            else:
                self._set(child, State.STOPPED)

        child = self._child(name)
        self._messages.put(act)

    def restart(self, name: str) -> None:
        """Stop one process and start it again without delay; also ends a back-off or a failure."""

        def act() -> None:
            child.failures = 0
            child.wanted = True
            if child.state in RUNNING:
                self._signal_stop(child)
            else:
                self._set(child, State.WAITING)

        child = self._child(name)
        self._messages.put(act)

    def wait_ready(
        self, timeout_s: float, *, names: Iterable[str] | None = None, at_least: int | None = None
    ) -> None:
        """Wait until the children (all, or those named, or `at_least` so many) are ready.

        Raises `SupervisorError` when one gave up, when the supervisor stops, or after `timeout_s`.
        """
        wanted = [self._child(name) for name in (list(self._children) if names is None else names)]
        enough = len(wanted) if at_least is None else min(at_least, len(wanted))
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                if self._failure:
                    raise SupervisorError(self._failure)
                failed = [child for child in wanted if child.state is State.FAILED]
                missing = [child for child in wanted if child.state is not State.READY]
                if len(wanted) - len(missing) >= enough:
                    return
                if failed and len(wanted) - len(failed) < enough:
                    raise SupervisorError(self._why(failed[0]))
                if self._stopping or not self._loop.is_alive():
                    raise SupervisorError("the processes are being stopped")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise SupervisorError(
                        f"not ready within {timeout_s:.0f} s: "
                        + ", ".join(f"{child.spec.name} ({child.state})" for child in missing)
                        + f". Last lines of {missing[0].log_path}:\n{tail(missing[0].log_path)}"
                    )
                self._changed.wait(left)

    def wait_stopped(self, timeout_s: float | None = None) -> bool:
        """Wait until every child is gone, by `stop` or by failure; False after `timeout_s`."""
        self._loop.join(timeout_s)
        if self._loop.is_alive():
            return False
        self._notifier.join(timeout_s)
        return True

    def stop(self, timeout_s: float = 30.0) -> None:
        """Stop all children gracefully; what still runs after `timeout_s` is killed. Idempotent."""
        if not self._loop.ident:
            return
        self._messages.put(self._begin_stop)
        if not self.wait_stopped(timeout_s):
            self.kill()
            self.wait_stopped(10.0)

    def kill(self) -> None:
        """Kill all children now: the answer to a second Ctrl-C."""

        def act() -> None:
            self._begin_stop()
            for child in self._children.values():
                _kill_group(child)

        self._messages.put(act)

    def status(self) -> tuple[ChildStatus, ...]:
        """A snapshot, in the order in which the children were given."""
        return tuple(child.status() for child in list(self._children.values()))

    @property
    def failure(self) -> str | None:
        """Why the supervisor stopped by itself: a critical child gave up."""
        return self._failure

    # --- the loop ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._finished():
                self._act_on_time()
                try:
                    message = self._messages.get(timeout=self._until_next())
                except queue.Empty:
                    continue
                if message:
                    message()
        finally:
            self._notices.put(None)
            with self._changed:
                self._changed.notify_all()

    def _finished(self) -> bool:
        return self._stopping and not any(c.state in RUNNING for c in self._children.values())

    def _until_next(self) -> float | None:
        due = [child.due_at for child in self._children.values() if child.due_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _act_on_time(self) -> None:
        """Start what may start, kill what missed its deadline, go on with the stop."""
        now = time.monotonic()
        for child in list(self._children.values()):
            due = child.due_at is not None and now >= child.due_at
            if child.state in (State.STARTING, State.STOPPING) and due:
                child.due_at = None
                log.warning("%s missed its deadline while %s", child.spec.name, child.state)
                _kill_group(child)
            elif child.state is State.BACKING_OFF and due:
                child.due_at = None
                self._set(child, State.WAITING)
            if child.state is State.WAITING and not self._stopping and self._may_start(child):
                self._spawn(child)
        if self._stopping:
            for child in self._children.values():
                if child.state in (State.STARTING, State.READY) and not self._needed(child):
                    self._signal_stop(child)

    def _may_start(self, child: _Child) -> bool:
        """A first start waits for its dependencies; a restart does not: they heal by themselves."""
        return child.starts > 0 or all(
            self._children[name].state is State.READY for name in child.spec.after
        )

    def _needed(self, child: _Child) -> bool:
        name = child.spec.name
        others = self._children.values()
        return any(name in other.spec.after and other.state in RUNNING for other in others)

    def _spawn(self, child: _Child) -> None:
        spec = child.spec
        child.starts += 1
        child.ready_s = None
        child.started_at = time.monotonic()
        try:
            with child.log_path.open("ab") as output:
                output.write(f"--- start {child.starts} of {spec.name}\n".encode())
                output.flush()
                process = subprocess.Popen(
                    [*dies_with_parent(), *spec.argv],
                    env={**os.environ, **spec.env},
                    cwd=spec.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            with child.log_path.open("a") as output:
                output.write(f"{spec.name} could not be started: {error}\n")
            self._after_exit(child, 127)
            return
        child.process = process
        self._write_pid(child)
        self._set(child, State.STARTING)
        if spec.start_timeout_s is not None:
            child.due_at = child.started_at + spec.start_timeout_s
        self._tell(self._listener.on_started, spec, process.pid)
        _thread(f"wait-{spec.name}", self._wait_exit, child, process)
        if spec.ready is None:
            self._became_ready(child, process)
        else:
            _thread(f"ready-{spec.name}", self._wait_child_ready, child, process, spec.ready)

    def _wait_exit(self, child: _Child, process: subprocess.Popen[bytes]) -> None:
        """Waits for the exit without reaping, so that the group can be killed under its own id."""
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        returncode = process.wait()
        self._messages.put(functools.partial(self._exited, child, process, returncode))

    def _wait_child_ready(
        self, child: _Child, process: subprocess.Popen[bytes], ready: Callable[[int], bool]
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
        self._messages.put(functools.partial(self._became_ready, child, process))

    def _became_ready(self, child: _Child, process: subprocess.Popen[bytes]) -> None:
        if child.process is not process or child.state is not State.STARTING:
            return
        child.due_at = None
        child.ready_s = time.monotonic() - child.started_at
        self._set(child, State.READY)
        self._tell(self._listener.on_ready, child.spec, child.ready_s)

    def _exited(self, child: _Child, process: subprocess.Popen[bytes], returncode: int) -> None:
        if child.process is process:
            child.process = None
            self._pid_path(child).unlink(missing_ok=True)
            self._after_exit(child, returncode)

    def _after_exit(self, child: _Child, returncode: int) -> None:
        spec = child.spec
        expected = child.state is State.STOPPING
        child.last_returncode = returncode
        child.due_at = None
        self._tell(self._listener.on_exit, spec, returncode, expected=expected)
        if self._stopping or not child.wanted:
            self._set(child, State.STOPPED)
            return
        if expected:
            self._set(child, State.WAITING)
            return
        lived_s = time.monotonic() - child.started_at
        healthy = child.ready_s is not None and lived_s >= spec.restart.healthy_after_s
        child.failures = 1 if healthy else child.failures + 1
        log.warning("%s ended with %s", spec.name, describe_exit(returncode))
        if spec.restart.gives_up(child.failures):
            self._set(child, State.FAILED)
            self._tell(self._listener.on_gave_up, spec, self._why(child))
            if spec.critical:
                self._failure = self._why(child)
                self._begin_stop()
            return
        child.due_at = time.monotonic() + spec.restart.delay_s(child.failures)
        _rotate(child.log_path, only_above_bytes=LOG_LIMIT_BYTES)
        self._set(child, State.BACKING_OFF)

    def _begin_stop(self) -> None:
        self._stopping = True
        for child in self._children.values():
            if child.state in (State.WAITING, State.BACKING_OFF):
                child.due_at = None
                self._set(child, State.STOPPED)

    def _signal_stop(self, child: _Child) -> None:
        if child.state is State.STOPPING or child.process is None:
            return
        child.due_at = time.monotonic() + child.spec.stop_timeout_s
        self._set(child, State.STOPPING)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.process.pid, child.spec.stop_signal)

    def _set(self, child: _Child, state: State) -> None:
        with self._changed:
            child.state = state
            self._changed.notify_all()

    # --- small things -----------------------------------------------------------------------

    def _tell(self, method: Callable[..., None], *args: object, **options: object) -> None:
        self._notices.put(functools.partial(method, *args, **options))

    def _notify(self) -> None:
        while (notice := self._notices.get()) is not None:
            try:
                notice()
            except Exception:
                log.exception("a listener of the supervisor failed")

    def _why(self, child: _Child) -> str:
        ended = describe_exit(child.last_returncode or 0)
        return (
            f"{child.spec.name} failed {child.failures} times in a row, last with {ended}. "
            f"Last lines of {child.log_path}:\n{tail(child.log_path)}"
        )

    def _child(self, name: str) -> _Child:
        try:
            return self._children[name]
        except KeyError:
            known = ", ".join(self._children)
            raise SupervisorError(f"no process named {name!r}: there are {known}") from None

    def _check(self, spec: ProcessSpec, *, known: Sequence[str]) -> None:
        unknown = [name for name in spec.after if name not in known]
        if unknown:
            raise SupervisorError(f"{spec.name} is to start after {unknown[0]}, which is not there")

    def _new_log(self, name: str) -> Path:
        path = self._log_dir / f"{name}.log"
        _rotate(path, only_above_bytes=0)
        return path

    def _pid_path(self, child: _Child) -> Path:
        return self._run_dir / f"{child.spec.name}.pid"

    def _write_pid(self, child: _Child) -> None:
        if child.process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            started = psutil.Process(child.process.pid).create_time()
            record = {"pid": child.process.pid, "started": started}
            self._pid_path(child).write_text(json.dumps(record))


def _thread(name: str, target: Callable[..., None], *args: object) -> None:
    threading.Thread(target=target, args=args, name=name, daemon=True).start()


def _kill_group(child: _Child) -> None:
    if child.process is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)


def describe_exit(returncode: int) -> str:
    """`exit code 1`, or the name of the signal that ended the process."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def tail(path: Path, *, lines: int = 15) -> str:
    """The last lines of a log, at most 16 KiB of it."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"(no log: {error})"
    return "\n".join(text.splitlines()[-lines:])


def _rotate(path: Path, *, only_above_bytes: int) -> None:
    """`x.log` becomes `x.log.1`, and so on; `LOGS_KEPT` old ones stay."""
    if not path.exists() or path.stat().st_size <= only_above_bytes:
        return
    for number in range(LOGS_KEPT, 1, -1):
        older = path.with_name(f"{path.name}.{number - 1}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))
    path.replace(path.with_name(f"{path.name}.1"))


def reap_leftovers(run_dir: Path) -> list[str]:
    """Kill children that a supervisor that was itself killed left behind; returns their names.

    A process is killed only when its id and its start time are those that were recorded.
    """
    killed = []
    for path in sorted(run_dir.glob("*.pid")):
        try:
            record = json.loads(path.read_text())
            process = psutil.Process(int(record["pid"]))
            same = abs(process.create_time() - float(record["started"])) < 1.0
            if same and process.status() != psutil.STATUS_ZOMBIE:
                for member in [*process.children(recursive=True), process]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        member.kill()
                psutil.wait_procs([process], timeout=5)
                killed.append(path.stem)
        except (ValueError, KeyError, TypeError, psutil.NoSuchProcess):
            pass  # unreadable, or gone already: there is nothing left to kill
        path.unlink(missing_ok=True)
    return killed
