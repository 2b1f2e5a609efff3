"""The web server's own limits, over real sockets: what a stranger may hold without a key."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.web import REQUEST, answers, connected, web_server

READ_S, MOST = 1.0, 8
LEAST_S = 0.1  # before a connection gives way to another
LARGE = b"/static/drf_spectacular_sidecar/redoc/bundles/redoc.standalone.js.map"  # more than kernels buffer

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    limits = {"WEBPOOL_READ_S": str(READ_S), "WEBPOOL_MAX_CONNECTIONS": str(MOST)}
    home = tmp_path_factory.mktemp("web")
    with web_server(home, limits) as port:
        yield port
        assert (home / "web.log").read_bytes() == b"", "no stranger makes the log grow"


def answered(one: socket.socket) -> int:
    """The status of an answer, which is read to its end."""
    answer = http.client.HTTPResponse(one)
    answer.begin()
    answer.read()
    return answer.status


def until_closed(one: socket.socket) -> bytes:
    """What comes until the server closes; a server that keeps it open fails by the socket's timeout."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while piece := one.recv(65536):
            said += piece
    return said


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: ",
        REQUEST + b"GET / HT",
        b"POST /v2/models/x/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{",
        b"POST /api/runs/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{",
    ],
    ids=[
        "nothing",
        "an empty line",
        "half a head",
        "half a second head",
        "half a body",
        "half a form",
    ],
)
def test_what_is_half_sent_is_closed(port: int, sent: bytes) -> None:
    with connected(port) as one:
        one.sendall(sent)
        until_closed(one)
    assert answers(port)


def test_a_body_that_drips_is_closed(port: int) -> None:
    with connected(port) as one:
        one.sendall(
            b"POST /v2/models/x/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
        )
        one.settimeout(0.2)
        deadline = time.monotonic() + 120
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < deadline:
                one.sendall(b" ")
                with contextlib.suppress(TimeoutError):
                    if not one.recv(1000):
                        break
        assert time.monotonic() < deadline


@pytest.mark.parametrize("endless", [b"X-%d: y\r\n", b"z"], ids=["headers", "one header"])
def test_an_endless_head_is_cut_off(port: int, endless: bytes) -> None:
    with connected(port) as one:
        one.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 * 2**20:
                piece = endless.replace(b"%d", str(sent).encode()) * 4096
                one.sendall(piece)
                sent += len(piece)
        assert sent < 64 * 2**20
    assert answers(port)


def test_a_request_that_comes_at_once_is_no_head_as_large_as_its_body(port: int) -> None:
    body = b"{}" + b" " * 100_000
    head = f"POST /v2/models/x/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    for number in range(20):
        with connected(port) as one:
            one.sendall(head.encode() + body[:number])
            time.sleep(0.01 * (number % 3))  # at once, or in two pieces
            one.sendall(body[number:])
            assert answered(one) in (400, 404)


def test_many_headers_and_a_long_address_are_refused(port: int) -> None:
    for head in (b"X-A: y\r\n" * 500, b"X-A: " + b"y" * 100_000 + b"\r\n"):
        with connected(port) as one:
            one.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + head + b"\r\n")
            said = until_closed(one)
            assert not said or said.startswith(b"HTTP/1.1 431"), said[:100]
    assert answers(port)


@pytest.mark.parametrize(
    "line",
    [
        "POST /admin/login/", "POST /", "POST /static/x", "PUT /metrics", "POST /admin/try/minilm/",
        "GET /api/models/", "OPTIONS /api/runs/",
    ],
)  # fmt: skip
def test_no_more_is_taken_of_a_stranger_than_a_form(port: int, line: str) -> None:
    for header, status in (("Content-Length: 100000", 413), ("Transfer-Encoding: chunked", 411)):
        with connected(port) as one:
            cookie = "Cookie: sessionid=abcdefghijklmnopqrstuvwxyz012345"
            head = f"{line} HTTP/1.1\r\nHost: 127.0.0.1\r\n{cookie}\r\n{header}\r\n\r\n"
            one.sendall(head.encode())
            assert answered(one) == status, "before any of the body is sent"


def half_a_head(port: int) -> socket.socket:
    one = connected(port)
    one.sendall(REQUEST[:20])
    return one


def half_a_form(port: int) -> socket.socket:
    one = connected(port)
    one.sendall(b"POST /admin/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{")
    return one


def unread(port: int) -> socket.socket:
    return asking(
        port, b"GET " + LARGE + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", receive_bytes=4096
    )


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server that closes nothing for being slow while a test looks."""
    limits = {"WEBPOOL_READ_S": "120", "WEBPOOL_MAX_CONNECTIONS": str(MOST)}
    with web_server(tmp_path_factory.mktemp("patient"), limits) as port:
        yield port


def within_seconds(port: int) -> None:
    """It answers, once it waits for who holds its connections: an answer is made before it is unread."""
    until = time.monotonic() + 30
    while not answers(port):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("held", [connected, half_a_head, half_a_form, unread])
def test_strangers_who_hold_all_connections_shut_nobody_out(
    patient: int, held: Callable[[int], socket.socket]
) -> None:
    """Who keeps the server waiting longest gives way to whoever asks at once; the others stay."""
    with contextlib.ExitStack() as stack:
        holding = list[socket.socket]()
        for _ in range(3):
            holding += [stack.enter_context(held(patient)) for _ in range(MOST)]
            time.sleep(2 * LEAST_S)
        for _ in range(2 * MOST):
            within_seconds(patient)
        gone = select.poll()
        for stranger in holding:
            gone.register(stranger, select.POLLRDHUP)
        assert len(gone.poll(0)) >= 2 * MOST


def test_an_idle_connection_that_gives_way_is_closed_without_an_answer(patient: int) -> None:
    with contextlib.ExitStack() as stack, connected(patient) as one:
        one.sendall(REQUEST)
        assert answered(one) == 200
        time.sleep(2 * LEAST_S)
        for _ in range(2 * MOST):
            stack.enter_context(half_a_head(patient))
        assert until_closed(one) == b""


def test_pipelined_requests_are_all_answered_while_strangers_come(patient: int) -> None:
    """Each but the first begins to be computed for when the one before was answered."""
    with contextlib.ExitStack() as stack, connected(patient) as one:
        one.sendall(REQUEST * 20)
        for _ in range(2 * MOST):
            stack.enter_context(half_a_head(patient))
        said = until_so_many(one, 20)
        assert said.count(b"HTTP/1.1 200") == 20
        assert b"503" not in said


def until_so_many(one: socket.socket, answers: int) -> bytes:
    said = b""
    while said.count(b"HTTP/1.1 200") < answers and (piece := one.recv(65536)):
        said += piece
    return said


def test_who_is_computed_for_gives_way_to_nobody(patient: int) -> None:
    """A request is waited for by its caller, not by the server: one that has come whole is answered."""
    with contextlib.ExitStack() as stack, connected(patient) as one:
        one.sendall(REQUEST)
        for _ in range(2 * MOST):
            stack.enter_context(half_a_head(patient))
        assert answered(one) == 200


def test_connections_that_ask_nothing_are_closed_and_new_ones_taken(port: int) -> None:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connected(port)) for _ in range(3 * MOST)]
        for one in held:
            until_closed(one)
    assert answers(port)


def test_an_honest_connection_is_kept_and_a_slow_answer_waited_for(port: int) -> None:
    with connected(port) as one:
        for _ in range(3):
            one.sendall(REQUEST)
            assert answered(one) == 200
        body = b" " * 200_000
        head = (
            b"POST /v2/repository/index HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
        )
        one.sendall(head % len(body) + body)
        assert answered(one) != 431


def asking(port: int, request: bytes, *, receive_bytes: int) -> socket.socket:
    """A connection whose kernel takes so much of the answer before it is read."""
    one = socket.socket()
    one.settimeout(120)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    one.connect(("127.0.0.1", port))
    one.sendall(request)
    return one


def reset(one: socket.socket) -> bool:
    """Wait until the server drops the connection, without reading anything of it."""
    poll = select.poll()
    poll.register(one, 0)  # errors alone
    return bool(poll.poll(120_000))


@pytest.mark.parametrize("headers", [b"", b"Connection: close\r\n"], ids=["kept", "closing"])
def test_who_does_not_read_an_answer_is_dropped(port: int, headers: bytes) -> None:
    request = b"GET " + LARGE + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n" + headers + b"\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(MOST):  # they hold all connections
            stack.enter_context(asking(port, request, receive_bytes=4096))
        deadline = time.monotonic() + 120
        while not answers(port):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    with asking(port, request, receive_bytes=4096) as one:
        assert reset(one)


def test_who_reads_slowly_gets_all_of_an_answer(port: int) -> None:
    """For several times as long as who does not read may stay, at some sixteen times the least speed."""
    request = b"GET " + LARGE + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with asking(port, request, receive_bytes=4096) as one:
        answer = http.client.HTTPResponse(one)
        answer.begin()
        expected, got = answer.length, 0
        until = time.monotonic() + 9 * READ_S
        while time.monotonic() < until:
            got += len(answer.read(2**12))
            time.sleep(READ_S / 4)  # this is what is slow
        got += len(answer.read())
    assert expected == got > 3 * 2**20


def test_strangers_do_not_make_the_log_grow(port: int) -> None:
    """What the fixture looks at when all is done."""
    for sent in (
        b"\0\0\0\r\n\r\n",
        b"GET /static/../x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        UPGRADE,
        b"GET /nothing HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n",
        b"GET /api/runs/x/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    ):
        with connected(port) as one:
            one.sendall(sent)
            assert until_closed(one).startswith(b"HTTP/1.1 ")
