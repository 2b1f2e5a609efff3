"""Management commands in processes that need not import everything first: copies of one that has.

One such process is kept, with the environment that was asked for last.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence

from tests.support.scripts.commands import HOME, READY
from tests.support.shared import ROOT

_START_S = 120.0
_TEST = "PYTEST_CURRENT_TEST"
"""What pytest calls the test that runs, and each phase of it: no other environment for that."""


class Commands:
    """`manage.py` in one environment.

    Its process is told the home: by its own environment it would be taken for one of that home's pool.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = dict(env)
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            others = {name: value for name, value in self.env.items() if name != HOME}
            module = "tests.support.scripts.commands"
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(number), self.env[HOME]],
                cwd=ROOT, env=others, pass_fds=(number,), stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self._channel.settimeout(_START_S)
        assert self._channel.recv(len(READY)) == READY, "see its own words above"

    def run(self, words: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        """What `subprocess.run` returns for the command, its output as text.

        Raises:
            subprocess.TimeoutExpired: it did not end in time, and was killed.
        """
        with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
            reading, writing = os.pipe()
            with open(reading, "rb", buffering=0) as status:
                files = [said.fileno(), errors.fileno(), writing]
                socket.send_fds(self._channel, [json.dumps(list(words)).encode()], files)
                os.close(writing)
                code = _exit_code(status.fileno(), words, timeout_s)
            told = [file.read() for file in (said, errors) if file.seek(0) == 0]
        return subprocess.CompletedProcess(list(words), code, *told)

    def close(self) -> None:
        self._channel.close()
        self._process.wait()


def _exit_code(status: int, words: Sequence[str], timeout_s: float) -> int:
    """First the command's process id comes, then how it ended."""
    until = time.monotonic() + timeout_s
    told = ""
    with selectors.DefaultSelector() as selector:
        selector.register(status, selectors.EVENT_READ)
        while not told.endswith("\n"):
            if not selector.select(max(0.0, until - time.monotonic())):
                with contextlib.suppress(ProcessLookupError, IndexError):
                    os.kill(int(told.split(maxsplit=1)[0]), signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(words), timeout_s)
            more = os.read(status, 64)
            assert more, f"the process of {words} is gone"
            told += more.decode()
    return int(told.split()[1])


_lock = threading.Lock()
_kept: Commands | None = None


def run(
    words: Sequence[str], env: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """`manage.py` with these words in that environment."""
    global _kept
    env = {name: value for name, value in env.items() if name != _TEST}
    with _lock:
        if _kept is None or _kept.env != env:
            end()
            _kept = Commands(env)
        commands = _kept
    return commands.run(words, timeout_s)


def end() -> None:
    global _kept
    if _kept is not None:
        _kept.close()
        _kept = None


atexit.register(end)
