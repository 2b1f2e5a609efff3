"""The page's WebSocket: binary messages over a loopback port, without compression or size limit.

The caller's thread writes to the socket itself (`websockets`' synchronous server), which saves the hops
between threads and tasks that a server in an event loop costs on every request.
"""

from __future__ import annotations

import contextlib
import http
import logging
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Final

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Origin

Buffer = bytes | bytearray | memoryview

_HOST: Final = "127.0.0.1"
_SOCKET_BUFFER: Final = 1 << 22
# SO_LINGER: no waiting for what was not acknowledged; whoever closes the socket resets the connection.
_RESET: Final = struct.pack("ii", 1, 0)
_JOIN_UP_TO: Final = 1 << 20
"""Messages up to this many bytes are copied into one frame; the parts of larger ones are fragments."""

logging.getLogger("websockets").setLevel(logging.WARNING)


class Closed(Exception):
    """The connection ended."""


class _PageConnection(ServerConnection):
    recv_bufsize = 1 << 20


class Connection:
    """One accepted page. `send` may be called from any thread, `receive` from one."""

    def __init__(self, page: ServerConnection) -> None:
        self._page = page
        page.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, parts: Sequence[Buffer], *, timeout_s: float) -> None:
        """Send the parts as one binary message.

        Raises:
            Closed: the page is gone, or did not read in time, which ends the connection because half
                a message cannot be taken back.
        """
        self._limit_sending(timeout_s)
        small = sum(len(part) for part in parts) <= _JOIN_UP_TO
        try:
            self._page.send(b"".join(parts) if small else parts)
        except (ConnectionClosed, OSError) as error:
            self.close()
            raise Closed(str(error)) from error

    def _limit_sending(self, timeout_s: float) -> None:
        """Bound the next send alone: a socket timeout would bound the reader too."""
        seconds, rest = divmod(max(timeout_s, 0.001), 1)
        limit = struct.pack("ll", int(seconds), int(rest * 1e6))
        with contextlib.suppress(OSError):  # closed already: the send says so
            self._page.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def receive(self) -> memoryview:
        """The next binary message.

        Raises:
            Closed: the connection ended, or the page sent text.
        """
        try:
            message = self._page.recv()
        except ConnectionClosed as error:
            raise Closed(f"the page's end of the connection is gone ({error})") from error
        if isinstance(message, str):
            raise Closed("the page sent text; expected binary messages")
        return memoryview(message)

    def close(self) -> None:
        """End the connection at once; a blocked `receive` raises Closed. Idempotent.

        By a reset: a goodbye would queue behind what a connection that went silent never acknowledges.
        """
        with contextlib.suppress(OSError):
            self._page.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._page.socket.shutdown(socket.SHUT_RDWR)


class WebSocketServer:
    """Accepts pages; each connection is served by `serve_page` in its own thread.

    `admits` says whether a Cookie header is the page's; `origin` is what the page's Origin must be.
    """

    def __init__(
        self,
        *,
        admits: Callable[[str | None], bool],
        serve_page: Callable[[Connection], None],
    ) -> None:
        self._admits = admits
        self._serve_page = serve_page
        self.port = 0
        self._server: Server | None = None

    def listen(self, listener: socket.socket, *, origin: str) -> None:
        """Accept at this bound socket, and no more at an earlier one."""
        self.close()
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            listener.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
        listener.listen()
        self.port = listener.getsockname()[1]
        self._server = serve(
            lambda page: self._serve_page(Connection(page)),
            sock=listener,
            origins=[Origin(origin)],
            process_request=self._check,
            create_connection=_PageConnection,
            compression=None,
            max_size=None,
            ping_interval=None,
            open_timeout=5,
            close_timeout=0.1,
            server_header=None,
        )
        threading.Thread(
            target=self._server.serve_forever, name="webpool-accept", daemon=True
        ).start()

    def _check(self, _: ServerConnection, request: Request) -> Response | None:
        """Refuse strangers, and a Host that another name was resolved to."""
        host_fits = request.headers.get("Host") == f"{_HOST}:{self.port}"
        if host_fits and self._admits(request.headers.get("Cookie")):
            return None
        refusal = http.HTTPStatus.NOT_FOUND
        return Response(refusal.value, refusal.phrase, Headers({"Content-Length": "0"}))

    def close(self) -> None:
        """Stop accepting; connections are closed by whoever serves them. Idempotent."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None
