"""This process's helper: started with the first job, again when it is gone, and ended with this process."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from inference.documents import JsonObject

_ROOT: Final = Path(__file__).parents[2]
_LOCK = threading.Lock()
_NUMBERS = itertools.count(1)
_END_S: Final = 5.0
_SEND_S: Final = 30.0
_START_S: Final = 120.0  # it imports its libraries, on a busy machine
READY: Final = b"ready"
_PASSED_ON: Final = (
    "PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV",
    "WEBPOOL_HOME",
)  # fmt: skip


class Helper:
    """A process that forks children; it ends when its socket is closed, which this process's end does."""

    def __init__(self) -> None:
        """Start it, and wait until it can fork.

        Raises:
            OSError: it cannot be started; its own words are in this process's log.
        """
        self.owner = os.getpid()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            descriptor = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "inference.sandbox.server", str(descriptor)],
                pass_fds=(descriptor,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=_ROOT,
                # One thread while it forks; children compute with onnxruntime's own.
                env={**_environment(), "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "0"},
                start_new_session=True,  # Ctrl-C is its owner's matter
            )
        self._control.settimeout(_START_S)
        try:
            if self._control.recv(len(READY)) != READY:
                raise ChildProcessError("the sandbox's helper did not start")
        except OSError:
            self.kill()
            raise
        self._control.settimeout(_SEND_S)

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self.owner == os.getpid() and self._process.poll() is None

    def open(self, confine: JsonObject, job: socket.socket, status: int) -> int:
        """Have a child forked; returns its number.

        Raises:
            OSError: the helper is gone.
        """
        number = next(_NUMBERS)
        confine = {**confine, "parent": self.pid}
        packet = json.dumps({"open": number, "confine": confine}).encode()
        socket.send_fds(self._control, [packet], [job.fileno(), status])
        return number

    def end(self, number: int) -> None:
        """Have a child killed, if it still runs."""
        with contextlib.suppress(OSError):
            self._control.send(json.dumps({"end": number}).encode())

    def kill(self) -> None:
        """End it and all its children, which ask the kernel to die with it."""
        self._control.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)


def _environment() -> dict[str, str]:
    """What Python needs; keys and addresses of services stay here."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


_current: Helper | None = None


def helper() -> Helper:
    """The helper of this process, alive a moment ago."""
    global _current
    with _LOCK:
        if _current is None or not _current.alive():
            if _current is not None and _current.owner == os.getpid():
                _current.kill()
            _current = None
            _current = Helper()
        return _current
