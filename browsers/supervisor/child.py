"""One child and the state it is in."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from browsers.supervisor.logs import tail
from browsers.supervisor.records import RUNNING, ChildStatus, ProcessSpec, State, describe_exit
from browsers.supervisor.starting import Channel, Process


class Child:
    """One child's mutable state; only the loop's thread changes it."""

    def __init__(self, spec: ProcessSpec, log_path: Path) -> None:
        self.spec = spec
        self.log_path = log_path
        self.state = State.WAITING
        self.process: Process | None = None
        self.channel: Channel | None = None  # to a fork server that serves, as far as is known
        self.starts = 0
        self.failures = 0
        self.started_at = 0.0
        self.ready_s: float | None = None
        self.worked = False  # it has told that it was ready, in this life or an earlier one
        self.due_at: float | None = None  # to start again, or to be killed
        self.overdue = False  # it missed a deadline, and was killed for it
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

    def kill_group(self) -> None:
        """SIGKILL to the child and what it started in its session."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def hang_up(self) -> None:
        """Ask this fork server for nothing more."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None

    def why(self) -> str:
        """Why it gave up, with the end of its log."""
        ended = describe_exit(self.last_returncode or 0)
        return (
            f"{self.spec.name} failed {self.failures} times in a row, last with {ended}. "
            f"Last lines of {self.log_path}:\n{tail(self.log_path)}"
        )
