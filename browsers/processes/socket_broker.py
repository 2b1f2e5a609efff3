"""The first program in a driver's namespaces: makes sockets for who stays outside, and starts the driver.

    python -I -S socket_broker.py <descriptor> <identity> <program> [argument …]

A socket belongs for ever to the network in which it was made, whoever uses it. So this program, started in a
new network, brings its loopback up, leaves a child there, and becomes <program>. For each message that
arrives at <descriptor> the child answers with a new TCP socket; it ends with the other end of
<descriptor>. A negative descriptor: no child.

<identity> is `-`, or JSON: the `uid`, `gid` and `groups` to take on, and in `folders` what that user is to
reach at its own path though the way there is closed to it. What is closed is covered by an empty
folder, in which nothing but those is to be seen.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import stat
import struct
import sys
from pathlib import Path
from typing import Any

# netdevice(7) and prctl(2)
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1
_AMBIENT, _CLEAR_ALL, _DEATH_SIGNAL = 47, 4, 1
_BIND = 0x1000
_LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    descriptor, identity, program = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    _loopback_up()
    if identity != "-":
        _become(json.loads(identity))
    if descriptor >= 0:
        if os.fork() == 0:
            _serve(socket.socket(fileno=descriptor))
            os._exit(0)
        os.close(descriptor)
    # Rights that a user namespace gave for the loopback are not handed on.
    _LIBC.prctl(_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    os.execvp(program[0], program)


def _become(identity: dict[str, Any]) -> None:
    uid = int(identity["uid"])
    _show(identity["folders"], uid)
    os.setgroups(identity["groups"])
    os.setresgid(identity["gid"], identity["gid"], identity["gid"])
    os.setresuid(uid, uid, uid)
    # The kernel forgot it with the user: to end with the container.
    _LIBC.prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def _show(folders: list[str], uid: int) -> None:
    """Make folders reachable for that user; only this mount namespace is changed."""
    closed = {folder: door for folder in folders if (door := _closed_door(folder, uid))}
    opened = {folder: os.open(folder, os.O_PATH) for folder in closed}
    before = os.umask(0o022)
    for door in sorted(set(closed.values())):
        _mount("tmpfs", door, "tmpfs", 0, "mode=0755,size=1m")
    for folder, descriptor in opened.items():
        Path(folder).mkdir(mode=0o755, parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{descriptor}", folder, "", _BIND, "")
        os.close(descriptor)
    os.umask(before)


def _closed_door(folder: str, uid: int) -> str | None:
    """The first folder on the way to this one that the user cannot pass."""
    door = ""
    for name in folder.split("/")[1:-1]:
        door += f"/{name}"
        found = Path(door).stat()
        if not found.st_mode & (stat.S_IXUSR if found.st_uid == uid else stat.S_IXOTH):
            return door
    return None


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    words = [word.encode() for word in (source, target, kind)]
    if _LIBC.mount(*words, ctypes.c_ulong(flags), options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def _loopback_up() -> None:
    request = "16sH14x"
    with socket.socket() as any_socket:
        told = fcntl.ioctl(any_socket, _GET_FLAGS, struct.pack(request, b"lo", 0))
        flags = struct.unpack(request, told)[1]
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack(request, b"lo", flags | _UP))


def _serve(outside: socket.socket) -> None:
    while outside.recv(1):
        with socket.socket() as made:
            socket.send_fds(outside, [b"s"], [made.fileno()])


if __name__ == "__main__":
    main()
