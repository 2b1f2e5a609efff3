"""What a connection's peer has not taken yet, and how to drop it."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
from typing import Final

# tcp(7), SIOCOUTQ: bytes in the kernel's send queue that the peer has not acknowledged.
_SIOCOUTQ: Final = 0x5411
_NO_LINGER: Final = struct.pack("ii", 1, 0)


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Bytes that were written and that the peer's kernel has not acknowledged; 0: none.

    The kernel's part counts, for a socket becomes writable again only once a third of its buffer is free,
    which may be a megabyte. Where the kernel does not tell (no Linux) it is the process's part alone.
    """
    waiting = transport.get_write_buffer_size()
    if sys.platform == "linux":
        queued = fcntl.ioctl(_socket(transport).fileno(), _SIOCOUTQ, struct.pack("i", 0))
        waiting += struct.unpack("i", queued)[0]
    return waiting


def drop(transport: asyncio.Transport) -> None:
    """Close the connection at once, with a reset: the kernel keeps nothing for who does not read, either."""
    _socket(transport).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


def _socket(transport: asyncio.Transport) -> socket.socket:
    found: socket.socket = transport.get_extra_info("socket")
    return found
