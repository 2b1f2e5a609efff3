"""The first program in a private network: makes its sockets for who stays outside, and starts the driver.

    python -I -S socket_broker.py <descriptor> <program> [argument …]

A socket belongs for ever to the network in which it was made, whoever uses it. So this program, started in a
new network, brings its loopback up, leaves a child there, and becomes <program>. For each message that
arrives at <descriptor> the child answers with a new TCP socket; it ends with the other end of
<descriptor>. A negative descriptor: no child.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys

# netdevice(7) and prctl(2)
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1
_AMBIENT, _CLEAR_ALL = 47, 4


def main() -> None:
    descriptor, program = int(sys.argv[1]), sys.argv[2:]
    _loopback_up()
    if descriptor >= 0:
        if os.fork() == 0:
            _serve(socket.socket(fileno=descriptor))
            os._exit(0)
        os.close(descriptor)
    # Rights that a user namespace gave for the loopback are not handed on.
    ctypes.CDLL(None).prctl(_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    os.execvp(program[0], program)


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
