"""Which user of this machine is at the other end of a connection, as its kernel says."""

from __future__ import annotations

import errno
import functools
import socket
import struct
import sys
from typing import Final

# sock_diag(7): the socket with exactly these two ends.
_NETLINK_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_REQUEST: Final = 1
_ESTABLISHED: Final = 1
_ANY: Final = 0xFFFFFFFF
_HEADER: Final = struct.Struct("=IHHII")
_ASKED: Final = struct.Struct("=BBBBI")
_PORTS: Final = struct.Struct("!HH")
_INTERFACE_AND_COOKIE: Final = struct.pack("=III", 0, _ANY, _ANY)
_UID_AT: Final = _HEADER.size + 4 + 48 + 12
_WITHIN_S: Final = 1.0
NOBODY: Final = -1
"""No user's: the socket is closed, or half closed, and the kernel tells no more whose it was."""

_NOT_THERE: Final = (
    errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EPERM, errno.EACCES, errno.ENOSYS,
    errno.EOPNOTSUPP, errno.ECONNREFUSED,
)  # fmt: skip

Address = tuple[str, int]


def uid_of(peer: Address, ours: Address) -> int | None:
    """The user whose process holds the other end; None: this kernel does not say (no Linux, a sandbox).

    Args:
        peer, ours: the two ends of a TCP connection on this machine.
    """
    if sys.platform != "linux":
        return None
    try:
        return _asked(peer, ours) if _kernel_says() else None
    except OSError:  # no descriptor, no memory, no answer: it may well be somebody else
        return NOBODY


@functools.cache
def _kernel_says() -> bool:
    """Whether it tells of a connection of our own.

    Raises:
        OSError: it cannot be tried now.
    """
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as calling,
    ):
        try:
            return _asked(calling.getsockname(), server.getsockname()) != NOBODY
        except OSError as error:
            if error.errno in _NOT_THERE:
                return False
            raise


def _asked(peer: Address, ours: Address) -> int:
    family = socket.AF_INET6 if ":" in peer[0] else socket.AF_INET
    asked = (
        _ASKED.pack(family, socket.IPPROTO_TCP, 0, 0, _ANY)
        + _PORTS.pack(peer[1], ours[1])
        + _packed(family, peer[0])
        + _packed(family, ours[0])
        + _INTERFACE_AND_COOKIE
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_WITHIN_S)
        kernel.send(_HEADER.pack(_HEADER.size + len(asked), _BY_FAMILY, _REQUEST, 0, 0) + asked)
        return _read(kernel.recv(4096))


def _packed(family: int, host: str) -> bytes:
    return socket.inet_pton(family, host).ljust(16, b"\0")


def _read(answer: bytes) -> int:
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind != _BY_FAMILY:
        return NOBODY
    state = answer[_HEADER.size + 1]
    (uid,) = struct.unpack_from("=I", answer, _UID_AT)
    # A socket that its process has closed is told as root's.
    return int(uid) if state == _ESTABLISHED else NOBODY
