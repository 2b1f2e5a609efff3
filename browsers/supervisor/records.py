"""What a child is asked to be, what became of it, and who is told."""

from __future__ import annotations

import dataclasses
import enum
import signal
from collections.abc import Callable, Mapping
from pathlib import Path


class SupervisorError(Exception):
    """A process of the stack could not be started or kept running; the message names its log."""


@dataclasses.dataclass(frozen=True)
class Restart:
    """When a child that exited is started again.

    The first restart comes after `first_delay_s`; each further failure multiplies the delay by
    `factor` up to `max_delay_s`. A child that stayed up for `healthy_after_s` starts from the first
    delay again, and so does one that was ready and was killed by somebody. `give_up_after` failures in
    a row end the attempts of a child that never told that it was ready, kills by somebody not counted;
    None goes on for ever. What has worked once is tried for ever: its surroundings broke, such as a full
    disk, and are mended by somebody.
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
    One that was stopped (SIGSTOP) for `stopped_timeout_s` is killed and started again; so is one that is
    ready, but whose last sign of life, as `silent_s()` tells (None: not known), is older than
    `silent_timeout_s`.
    A `fork_server` (`fork_server_argv` is its command) imports things once for others, which name it in
    `forked_by`: they are `python -m` commands, start only while it is ready, and go on without it.
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
    stopped_timeout_s: float = 2.0
    silent_s: Callable[[], float | None] | None = None
    silent_timeout_s: float = 60.0
    fork_server: bool = False
    forked_by: str | None = None


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

    def on_put_down(self, spec: ProcessSpec, why: str) -> None:
        """It stood still and is killed; `on_exit` follows."""

    def on_gave_up(self, spec: ProcessSpec, message: str) -> None: ...


def describe_exit(returncode: int) -> str:
    """`exit code 1`, or the name of the signal that ended the process."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"
