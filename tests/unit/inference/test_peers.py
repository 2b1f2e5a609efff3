"""Whose process is at the other end of a connection: real sockets, a real other user where we may be one."""

from __future__ import annotations

import os
import resource
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


def test_who_cannot_be_asked_for_is_nobody(server: socket.socket) -> None:
    """A process that has no descriptor left lets nobody in."""
    with socket.create_connection(server.getsockname()[:2]), server.accept()[0] as accepted:
        ends = accepted.getpeername()[:2], accepted.getsockname()[:2]
        assert peers.uid_of(*ends) == os.geteuid()
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        try:
            found = peers.uid_of(*ends)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found == peers.NOBODY


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another user")
def test_a_process_of_somebody_else(server: socket.socket) -> None:
    def call() -> list[str]:
        with socket.create_connection(server.getsockname()[:2]), server.accept()[0] as accepted:
            return [str(uid_of(accepted))]

    assert as_nobody(call) == [str(NOBODY)]
