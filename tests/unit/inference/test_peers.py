"""Whose process is at the other end of a connection: real sockets, a real other user where we may be one."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator

import pytest

from inference import peers
from tests.support.other_users import NOBODY, as_nobody

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is Linux that says it")


@pytest.fixture(params=["127.0.0.1", "::1"])
def server(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as listening:
        yield listening


def uid_of(accepted: socket.socket) -> int | None:
    return peers.uid_of(accepted.getpeername()[:2], accepted.getsockname()[:2])


def test_a_process_of_ours(server: socket.socket) -> None:
    with socket.create_connection(server.getsockname()[:2]), server.accept()[0] as accepted:
        assert uid_of(accepted) == os.geteuid()


def test_who_has_hung_up_or_half_is_nobody(server: socket.socket) -> None:
    """The kernel tells such a socket as root's."""
    with (
        socket.create_connection(server.getsockname()[:2]) as calling,
        server.accept()[0] as accepted,
    ):
        calling.shutdown(socket.SHUT_WR)
        assert accepted.recv(1) == b""
        assert uid_of(accepted) == peers.NOBODY
        calling.close()
        assert uid_of(accepted) == peers.NOBODY


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another user")
def test_a_process_of_somebody_else(server: socket.socket) -> None:
    def call() -> list[str]:
        with socket.create_connection(server.getsockname()[:2]), server.accept()[0] as accepted:
            return [str(uid_of(accepted))]

    assert as_nobody(call) == [str(NOBODY)]
