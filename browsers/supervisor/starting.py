"""A child is started: as a program, or forked by the fork server; either way it is the supervisor's own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO, Final, Protocol

from browsers.lifeline import dies_with_parent
from browsers.supervisor import command_line
from browsers.supervisor.records import ProcessSpec

_ANSWERS_WITHIN_S: Final = 5.0
_READY, _FORK = b"r", b"f"  # as fork_server.py has them


class Process(Protocol):
    """What the supervisor needs of a child that runs."""

    pid: int

    @property
    def returncode(self) -> int | None: ...

    def wait(self) -> int:
        """Collect it; its exit code, or a signal's number below zero."""


class NoForkServer(Exception):
    """It has ended, or it does not answer: another one is needed."""


class Forked:
    """A child of this process that the fork server made."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def wait(self) -> int:
        if self.returncode is None:
            _, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


class Channel:
    """The supervisor's end of the line to its fork server."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ready = False

    def close(self) -> None:
        self._ours.close()
        self.theirs.close()

    def is_ready(self) -> bool:
        """Whether the server has imported what it is to import."""
        if not self._ready:
            with contextlib.suppress(OSError):  # nothing said yet, or hung up meanwhile
                self._ready = self._ours.recv(1, socket.MSG_DONTWAIT) == _READY
        return self._ready

    def fork(self, spec: ProcessSpec, output: IO[bytes]) -> Forked:
        """A child that runs the spec's module.

        Raises:
            NoForkServer: nothing was started.
        """
        ours, theirs = socket.socketpair()
        with ours:
            try:
                with theirs:  # closed here, so that the end of the server ends the line
                    socket.send_fds(self._ours, [_FORK], [output.fileno(), theirs.fileno()])
                ours.settimeout(_ANSWERS_WITHIN_S)
                said = ours.recv(32)
            except OSError as error:
                raise NoForkServer(f"the fork server does not answer: {error}") from error
            if not said:
                raise NoForkServer("the fork server has ended")
            with contextlib.suppress(OSError):  # it has ended: that is seen
                ours.sendall(_job(spec))
        return Forked(int(said))


def _job(spec: ProcessSpec) -> bytes:
    job = {"argv": spec.argv[2:], "env": _environment(spec), "cwd": str(spec.cwd or Path.cwd())}
    return json.dumps(job).encode() + b"\n"


def _environment(spec: ProcessSpec) -> dict[str, str]:
    return {**os.environ, **spec.env}


def start_program(spec: ProcessSpec, output: IO[bytes], channel: Channel | None) -> Process:
    """Run the spec's command; a fork server's gets its end of the channel.

    Raises:
        OSError: it cannot be started.
    """
    given = () if channel is None else (channel.theirs.fileno(),)
    words = () if channel is None else (str(channel.theirs.fileno()), command_line.ROOM)
    process = subprocess.Popen(
        [*dies_with_parent(), *spec.argv, *words],
        env=_environment(spec),
        cwd=spec.cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        umask=0o077,  # what the pool writes is for its user alone
        pass_fds=given,
    )
    if channel is not None:
        channel.theirs.close()  # so that the end of the server ends what it was asked
    return process


def fork_server_argv(module: str) -> tuple[str, ...]:
    """The command of a fork server that imports this module first."""
    return (sys.executable, "-m", "browsers.supervisor.fork_server", module)
