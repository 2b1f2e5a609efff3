"""What is done to a process, from outside: signals, and its page's connection cut."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

import psutil


class Fault(StrEnum):
    KILL = "kill"
    """SIGKILL"""
    STOP = "stop"
    """SIGSTOP, and nobody continues it"""
    SLOW = "slow"
    """SIGSTOP and SIGCONT in turns: it gets a fifth of its time"""
    CUT = "cut"
    """both ends live, their TCP connection does not"""
    SILENCE = "silence"
    """both ends and their TCP connection live, but nothing of the page's arrives any more"""


SLOW_FOR_S = 4.0
_STOPPED_S, _RUNNING_S = 0.2, 0.05
# pidfd_getfd(2): the same number on every architecture; glibc 2.36 has no name that Python knows.
_PIDFD_GETFD = 438
# socket(7) and linux/filter.h: a filter of one instruction that keeps 0 bytes of each packet.
_SO_ATTACH_FILTER, _BPF_RETURN = 26, 0x06


class CannotInject(Exception):
    """This machine does not let us; the message says why."""


def inject(process: psutil.Process, fault: Fault) -> None:
    """Do it, at once; `SLOW` goes on in a thread of its own for `SLOW_FOR_S`.

    Raises:
        psutil.NoSuchProcess: it is gone already.
        CannotInject: `CUT` and `SILENCE`, where this kernel does not lend us the socket.
    """
    match fault:
        case Fault.KILL:
            process.kill()
        case Fault.STOP:
            process.suspend()
        case Fault.SLOW:
            process.suspend()
            threading.Thread(target=_pulses, args=(process,), daemon=True).start()
        case Fault.CUT:
            cut_page(process)
        case Fault.SILENCE:
            silence_page(process)


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
    return _to_connections(worker, lambda page: page.shutdown(socket.SHUT_RDWR))


def silence_page(worker: psutil.Process) -> int:
    """Let nothing more arrive from the page; returns how many connections there were.

    As where a network drops packets: neither end is told, and the kernels at both ends retransmit in vain.
    """
    return _to_connections(worker, _drop_what_arrives)


def _drop_what_arrives(page: socket.socket) -> None:
    nothing = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RETURN, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(nothing))
    page.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _to_connections(worker: psutil.Process, act: Callable[[socket.socket], object]) -> int:
    """Do it to every connection that a page has to this worker, in whichever network."""
    with contextlib.ExitStack() as borrowed:
        ours = [borrowed.enter_context(each) for each in _tcp_sockets(worker.pid)]
        listening = {each.getsockname() for each in ours if _listens(each)}
        accepted = [each for each in ours if not _listens(each) and _local(each) in listening]
        for page in accepted:
            with contextlib.suppress(OSError):  # it was closed meanwhile
                act(page)
        return len(accepted)


def _listens(each: socket.socket) -> bool:
    return bool(each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _local(each: socket.socket) -> object:
    """Its own address, while it is connected."""
    with contextlib.suppress(OSError):
        each.getpeername()
        return each.getsockname()
    return None


def _tcp_sockets(pid: int) -> Iterator[socket.socket]:
    """Duplicates of another process's sockets; the caller closes them."""
    folder = Path(f"/proc/{pid}/fd")
    try:
        descriptors = list(folder.iterdir())
    except FileNotFoundError:
        raise psutil.NoSuchProcess(pid) from None
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # it was closed meanwhile
            if descriptor.readlink().name.startswith("socket:"):
                found = _borrowed(pid, int(descriptor.name))
                if found.family == socket.AF_INET and found.type == socket.SOCK_STREAM:
                    yield found
                else:
                    found.close()


def _borrowed(pid: int, number: int) -> socket.socket:
    """A duplicate of another process's socket."""
    if platform.system() != "Linux":
        raise CannotInject("a connection of another process can be cut on Linux only")
    process = os.pidfd_open(pid)
    try:
        found = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, process, number, 0)
        error = ctypes.get_errno()
    finally:
        os.close(process)
    if found < 0:
        raise CannotInject(
            f"the socket of process {pid} cannot be borrowed ({os.strerror(error)}): this needs the right "
            "to trace it (CAP_SYS_PTRACE)"
        )
    return socket.socket(fileno=found)
