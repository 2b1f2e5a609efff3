"""The network in which a driver listens: private where the kernel allows it, else this machine's.

Whoever reaches a driver's port may name the program that it starts, and drivers ask for no password. In a
network of its own nobody else reaches it, nor what its browser opens; the pool's own processes do
through sockets that were made in there, at no cost per byte or command.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from browsers.processes.containment import BROKER, containment
from browsers.processes.identity import identity
from browsers.processes.starting import spawn

LOOPBACK: Final = "127.0.0.1"
OPEN_DOOR: Final = (
    "any local user can drive this pool's browsers and so run programs as its user: drivers listen on"
    " loopback without a password, and this machine gives them no private network"
)
OPEN_DOOR_REMEDY: Final = (
    "allow unshare of PID and network namespaces (CAP_SYS_ADMIN, or user namespaces), or let nobody else log"
    " in here"
)
_ANSWERS_WITHIN_S: Final = 5.0
_LISTENING: Final = "0A"  # in /proc/net/tcp


class Network:
    """Where sockets are made; `broker` None: in this process's own network. For any thread."""

    def __init__(self, broker: socket.socket | None = None) -> None:
        self._broker = broker
        self._asking = threading.Lock()
        if broker is not None:
            broker.settimeout(_ANSWERS_WITHIN_S)

    @property
    def private(self) -> bool:
        return self._broker is not None

    def tcp_socket(self) -> socket.socket:
        """A TCP socket that belongs to this network. OSError when the network is gone."""
        if self._broker is None:
            return socket.socket()
        with self._asking:
            self._broker.send(b"s")
            _, descriptors, _, _ = socket.recv_fds(self._broker, 1, 1)
        if not descriptors:
            raise ConnectionResetError("the browser's private network is gone")
        return socket.socket(fileno=descriptors[0])

    def listener(self) -> socket.socket:
        """Bound to a free loopback port; the caller listens."""
        made = self.tcp_socket()
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((LOOPBACK, 0))
        except BaseException:
            made.close()
            raise
        return made

    def close(self) -> None:
        """No more sockets; those that were made live on. Idempotent."""
        if self._broker is not None:
            self._broker.close()


HOST: Final = Network()
"""This machine's own network, which every local user shares."""


def spawn_apart(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    log_path: Path,
    folders: Sequence[Path] = (),
) -> tuple[subprocess.Popen[bytes], Network]:
    """Start `command` contained, in a network of its own and as a user of its own, where that works.

    `folders` are what that user is to reach. OSError: it cannot be started.
    """
    if not containment().private_network:
        return spawn(command, env=env, log_path=log_path), HOST
    user = identity()
    become = user.text(folders) if user is not None else "-"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        try:
            process = spawn(
                [sys.executable, *BROKER, str(theirs.fileno()), become, *command],
                env=env,
                log_path=log_path,
                pass_fds=[theirs.fileno()],
            )
        except BaseException:
            ours.close()
            raise
    return process, Network(ours)


def listening_port(pid: int) -> int | None:
    """A port on which somebody listens in the network of process `pid`; None: nobody does."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
        for _, local, _, state, *_ in map(str.split, lines):
            if state == _LISTENING:
                return int(local.rpartition(":")[2], 16)
    return None
