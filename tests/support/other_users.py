"""Somebody else on this machine: what is tried on a pool's processes by a user who has no rights on them."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import http
import http.client
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

NOBODY = 65_534
_CLONE_NEWNET = 0x40000000
_LISTENING = "0A"
_X_HELLO = b"l\0" + struct.pack("<HHHHH", 11, 0, 0, 0, 0)  # no authorization
_SESSION = {
    "capabilities": {"alwaysMatch": {"goog:chromeOptions": {"binary": "/bin/false"}}},
}

_OPEN = """
mount --bind "$1" "$3"
mount -t tmpfs -o mode=755 tmpfs "$2"
(umask 022; mkdir -p "$1")
mount --bind "$3" "$1"
shift 3
exec "$@"
"""


@dataclasses.dataclass(frozen=True)
class Doors:
    """What a pool's processes have open; found by a user who may look.

    `ports`: where they listen in this machine's own network. `inner`: ports in networks of their own.
    `sockets`: Unix sockets, an abstract one's name begins with `@`. `files`: regular files, opened.
    """

    pids: tuple[int, ...]
    ports: frozenset[int]
    inner: frozenset[int]
    sockets: frozenset[str]
    files: frozenset[str]
    folders: frozenset[str]


def doors(processes: Iterable[psutil.Process], *, below: Path) -> Doors:
    """`files` are those that lie below that folder, or were opened in the system's temporary ones."""
    pids = tuple(process.pid for process in processes)
    inodes, files, folders = set(), set(), set()
    ports: set[int] = set()
    inner: set[int] = set()
    sockets: set[str] = set()
    for pid in pids:
        for target in _descriptors(pid):
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
            elif target.startswith((str(below), "/tmp/", "/dev/shm/")) and os.path.exists(target):
                files.add(target)
        environment = _read(f"/proc/{pid}/environ").split("\0")
        folders |= {word[7:] for word in environment if word.startswith("TMPDIR=")}
    here = os.readlink("/proc/self/ns/net")
    for pid in pids:
        with contextlib.suppress(OSError):
            apart = os.readlink(f"/proc/{pid}/ns/net") != here
            for fields in _table(pid, "tcp") + _table(pid, "tcp6"):
                if fields[3] == _LISTENING and (apart or fields[9] in inodes):
                    (inner if apart else ports).add(int(fields[1].rpartition(":")[2], 16))
            for fields in _table(pid, "unix"):
                if len(fields) > 7 and fields[6] in inodes:
                    sockets.add(fields[7])
    return Doors(
        pids, frozenset(ports), frozenset(inner), frozenset(sockets), frozenset(files), frozenset(folders)
    )  # fmt: skip


def _descriptors(pid: int) -> list[str]:
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _table(pid: int, name: str) -> list[list[str]]:
    return [line.split() for line in _read(f"/proc/{pid}/net/{name}").splitlines()[1:]]


def as_nobody(attack: Callable[[], list[str]]) -> list[str]:
    """What `attack` returns in a process of another user, who belongs to no group of ours. Needs root."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            answer = attack()
        except BaseException as error:
            answer = [f"the attack itself failed: {error!r}"]
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        text = told.read()
    os.waitpid(child, 0)
    found: list[str] = json.loads(text)
    return found


def attack(open_: Doors, home: Path) -> list[str]:
    """Everything that worked, in words."""
    won = [f"a driver answers on port {port}" for port in open_.inner if _is_driver(port)]
    won += [f"port {port} lets us in without a key" for port in open_.ports if _is_open(port)]
    won += [f"socket {name} lets us in" for name in open_.sockets if _lets_in(name)]
    won += [f"{name} can be read" for name in open_.files if _opens(name)]
    won += [f"{folder} can be listed" for folder in {str(home), *open_.folders} if _lists(folder)]
    for pid in open_.pids:
        won += [
            f"{name} of process {pid} can be read"
            for name in ("environ", "mem")
            if _opens(f"/proc/{pid}/{name}")
        ]
        if _enters(pid):
            won.append(f"the network of process {pid} can be entered")
    return won


def command_as(user: int, folder: Path) -> tuple[str, ...]:
    """Words before a command, which is another user's then and finds this interpreter. Needs root.

    Where the interpreter lies in a folder that is closed to others, such as root's home, the command sees
    nothing but the interpreter in that folder; `folder` is an empty one for it to be mounted at meanwhile.

    Raises:
        OSError: what is mounted by the command cannot be.
    """
    change = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--")
    prefix = Path(sys.base_prefix)
    closed = [one for one in (*reversed(prefix.parents), prefix) if not one.stat().st_mode & 1]
    if not closed:
        return change
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        raise PermissionError("no mount namespaces for root here")
    return (
        "unshare", "--mount", "sh", "-ec", _OPEN, "sh", str(prefix), str(closed[0]), str(folder), *change
    )  # fmt: skip


def _is_open(port: int) -> bool:
    """Whether a web server there answers somebody without a key or a login."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/api/runs/")
        return connection.getresponse().status != http.HTTPStatus.UNAUTHORIZED
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _is_driver(port: int) -> bool:
    """Whether a WebDriver server answers there: it would start any program."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", "/session", json.dumps(_SESSION))
        return "value" in json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError, TypeError):
        return False
    finally:
        connection.close()


def _lets_in(name: str) -> bool:
    address = "\0" + name[1:] if name.startswith("@") else name
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as ours:
            ours.settimeout(5)
            try:
                ours.connect(address)
                if "X11-unix" not in name:
                    return True
                ours.sendall(_X_HELLO)
                return ours.recv(1) != b"\0"  # 0: refused
            except OSError:
                continue
    return False


def _opens(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError:
        return False
    return True


def _lists(folder: str) -> bool:
    try:
        os.listdir(folder)
    except OSError:
        return False
    return True


def _enters(pid: int) -> bool:
    try:
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    except OSError:
        return False
    try:
        return ctypes.CDLL(None).setns(descriptor, _CLONE_NEWNET) == 0
    finally:
        os.close(descriptor)
