"""What is done to a process, from outside: signals, and its page's connection cut."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import socket
import threading
import time
from enum import StrEnum

import psutil


class Injury(StrEnum):
    KILL = "kill"
    """SIGKILL"""
    STOP = "stop"
    """SIGSTOP, and nobody continues it"""
    SLOW = "slow"
    """SIGSTOP and SIGCONT in turns: it gets a fifth of its time"""
    CUT = "cut"
    """both ends live, their TCP connection does not"""


SLOW_FOR_S = 4.0
_STOPPED_S, _RUNNING_S = 0.2, 0.05
# pidfd_getfd(2): the same number on every architecture; glibc 2.36 has no name that Python knows.
_PIDFD_GETFD = 438


class CannotHurt(Exception):
    """This machine does not let us; the message says why."""


def injure(process: psutil.Process, injury: Injury) -> None:
    """Do it, at once; `SLOW` goes on in a thread of its own for `SLOW_FOR_S`.

    Raises:
        psutil.NoSuchProcess: it is gone already.
        CannotHurt: `CUT`, where this kernel does not lend us the socket.
    """
    match injury:
        case Injury.KILL:
            process.kill()
        case Injury.STOP:
            process.suspend()
        case Injury.SLOW:
            process.suspend()
            threading.Thread(target=_pulses, args=(process,), daemon=True).start()
        case Injury.CUT:
            cut_page(process)


def _pulses(process: psutil.Process) -> None:
    until = time.monotonic() + SLOW_FOR_S
    with contextlib.suppress(psutil.NoSuchProcess):
        while time.monotonic() < until:
            process.suspend()
            time.sleep(_STOPPED_S)
            process.resume()
            time.sleep(_RUNNING_S)


def cut_page(worker: psutil.Process) -> int:
    """Shut down every connection that a page has to this worker; returns how many there were.

    The socket is borrowed from the worker's process and shut down, as if the network had gone: neither
    end is asked, both are told by the kernel.
    """
    connections = worker.net_connections("tcp")
    ours = {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}
    accepted = [
        c.fd for c in connections if c.status == psutil.CONN_ESTABLISHED and c.laddr.port in ours
    ]
    for number in accepted:
        with contextlib.suppress(OSError):  # closed meanwhile
            _borrowed(worker.pid, number).shutdown(socket.SHUT_RDWR)
    return len(accepted)


def _borrowed(pid: int, number: int) -> socket.socket:
    """A duplicate of another process's socket."""
    if platform.system() != "Linux":
        raise CannotHurt("a connection of another process can be cut on Linux only")
    process = os.pidfd_open(pid)
    try:
        found = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, process, number, 0)
        error = ctypes.get_errno()
    finally:
        os.close(process)
    if found < 0:
        raise CannotHurt(
            f"the socket of process {pid} cannot be borrowed ({os.strerror(error)}): this needs the right "
            "to trace it (CAP_SYS_PTRACE)"
        )
    return socket.socket(fileno=found)
