"""The page's WebSockets: binary messages over a loopback port, without compression or size limit.

The caller's thread writes to the socket itself, and whoever receives reads from it: on the way of a request a
hop to a server's thread or event loop costs more than all that is done here. `websockets` does the protocol.
"""

from __future__ import annotations

import collections
import contextlib
import http
import logging
import math
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from websockets.datastructures import Headers, MultipleValuesError
from websockets.exceptions import InvalidState
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Origin

Buffer = bytes | bytearray | memoryview

_HOST: Final = "127.0.0.1"
_SOCKET_BUFFER: Final = 1 << 22
# SO_LINGER: no waiting for what was not acknowledged; whoever closes the socket resets the connection.
_RESET: Final = struct.pack("ii", 1, 0)
_TIME: Final = struct.Struct("ll")
_JOIN_UP_TO: Final = 1 << 20
"""Messages up to this many bytes are copied into one frame; the parts of larger ones are fragments."""
_READ: Final = 1 << 18
_OPENS_WITHIN_S: Final = 5.0

logging.getLogger("websockets").setLevel(logging.WARNING)


class Closed(Exception):
    """The connection ended."""


class Connection:
    """One accepted client. `send` may be called from any thread, `receive` from one."""

    def __init__(self, client: socket.socket, protocol: ServerProtocol, path: str) -> None:
        self.path = path
        self._socket, self._protocol = client, protocol
        self._using = threading.Lock()  # the protocol, and the order of what it wants sent
        self._read = memoryview(bytearray(_READ))
        self._fragments: list[Buffer] = []
        self._messages: collections.deque[memoryview] = collections.deque()
        self._receiving = self._ended = False
        self._limits: dict[int, bytes] = {}
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, parts: Sequence[Buffer], *, timeout_s: float) -> None:
        """Send the parts as one binary message.

        Raises:
            Closed: the client is gone, or did not read in time, which ends the connection because half
                a message cannot be taken back.
        """
        small = sum(map(len, parts)) <= _JOIN_UP_TO
        fragments = [b"".join(parts)] if small else parts
        try:
            with self._using:
                self._limit(socket.SO_SNDTIMEO, timeout_s)
                for index, data in enumerate(fragments):
                    put = self._protocol.send_continuation if index else self._protocol.send_binary
                    put(data, index == len(fragments) - 1)
                    self._flush()
        except (InvalidState, OSError) as error:
            self.close()
            raise Closed(str(error)) from error

    def receive(self, timeout_s: float | None = None) -> memoryview:
        """The next binary message.

        Raises:
            Closed: the connection ended, or the client sent text.
            TimeoutError: none came in time; it may come yet.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        with self._using:
            self._receiving = True
        try:
            while not self._messages:
                if until is not None:
                    self._limit(socket.SO_RCVTIMEO, until - time.monotonic())
                self._receive_some()
        finally:
            with self._using:
                self._receiving = False
                if self._ended:
                    self._socket.close()
        return self._messages.popleft()

    def _receive_some(self) -> None:
        try:
            size = self._socket.recv_into(self._read)
        except BlockingIOError:
            raise TimeoutError from None
        except OSError as error:
            raise Closed(f"the page's end of the connection is gone ({error})") from error
        try:
            with self._using:
                if size:
                    self._protocol.receive_data(self._read[:size])  # type: ignore[arg-type]
                else:
                    self._protocol.receive_eof()
                frames = self._protocol.events_received()
                self._flush()
        except OSError as error:
            raise Closed(f"the page's end of the connection is gone ({error})") from error
        for frame in frames:
            self._take(frame)
        if not self._messages and self._protocol.state is not State.OPEN:
            raise Closed("the page's end of the connection is gone")

    def _take(self, frame: object) -> None:
        if not isinstance(frame, Frame) or frame.opcode not in DATA_OPCODES:
            return
        if frame.opcode is Opcode.TEXT:
            raise Closed("the page sent text; expected binary messages")
        self._fragments.append(frame.data)
        if frame.fin:
            parts, self._fragments = self._fragments, []
            self._messages.append(memoryview(parts[0] if len(parts) == 1 else b"".join(parts)))

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._socket.sendall(data)

    def _limit(self, option: int, timeout_s: float) -> None:
        """Bound sending or receiving alone: Python's timeout of a socket would bound both.

        From a quarter of a second on in whole tenths: so most steps of a text find it set.
        """
        bound_s = math.ceil(timeout_s * 10) / 10 if timeout_s > 0.25 else max(timeout_s, 0.001)
        seconds, rest = divmod(bound_s, 1)
        limit = _TIME.pack(int(seconds), int(rest * 1e6))
        if self._limits.get(option) != limit:
            with contextlib.suppress(OSError):  # closed already: who sends or receives is told
                self._socket.setsockopt(socket.SOL_SOCKET, option, limit)
            self._limits[option] = limit

    def __del__(self) -> None:
        self._socket.close()

    def close(self) -> None:
        """End the connection at once; a blocked `receive` raises Closed. Idempotent.

        By a reset: a goodbye would queue behind what a connection that went silent never acknowledges. Who
        receives closes the socket afterwards: its number may be another's as soon as it is closed.
        """
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._socket.shutdown(socket.SHUT_RDWR)
        with self._using:
            self._ended = True
            if not self._receiving:
                self._socket.close()


class WebSocketServer:
    """Accepts pages; each connection is served by `serve` in its own thread, and is open until it is closed.

    `admits` says whether a Cookie header is the page's; `origin` is what the page's Origin must be.
    """

    def __init__(
        self,
        *,
        admits: Callable[[str | None], bool],
        serve: Callable[[Connection], None],
    ) -> None:
        self._admits = admits
        self._serve = serve
        self.port = 0
        self._listener: socket.socket | None = None

    def listen(self, listener: socket.socket, *, origin: str) -> None:
        """Accept at this bound socket, and no more at an earlier one."""
        self.close()
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            listener.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
        listener.listen()
        listener.settimeout(None)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(
            target=self._accept, args=(listener, origin), name="webpool-accept", daemon=True
        ).start()

    def _accept(self, listener: socket.socket, origin: str) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(
                target=self._welcome, args=(client, origin), name="webpool-page", daemon=True
            ).start()

    def _welcome(self, client: socket.socket, origin: str) -> None:
        try:
            connection = self._shake_hands(client, origin)
        except (OSError, MultipleValuesError):
            connection = None
        if connection is None:
            client.close()
        else:
            self._serve(connection)

    def _shake_hands(self, client: socket.socket, origin: str) -> Connection | None:
        """Who may come in; whoever may not is told why, and None."""
        protocol = ServerProtocol(origins=[Origin(origin)], max_size=None)
        until = time.monotonic() + _OPENS_WITHIN_S
        while not (came := protocol.events_received()):
            client.settimeout(max(until - time.monotonic(), 0.001))
            data = client.recv(4096)
            if not data:
                return None
            protocol.receive_data(data)
            if protocol.handshake_exc is not None:
                return None
        (request,) = came
        assert isinstance(request, Request), "a handshake begins with a request"
        response = self._refusal(request) or protocol.accept(request)
        protocol.send_response(response)
        for data in protocol.data_to_send():
            client.sendall(data)
        client.settimeout(None)
        return Connection(client, protocol, request.path) if protocol.state is State.OPEN else None

    def _refusal(self, request: Request) -> Response | None:
        """Refuse strangers, and a Host that another name was resolved to."""
        host_fits = request.headers.get("Host") == f"{_HOST}:{self.port}"
        if host_fits and self._admits(request.headers.get("Cookie")):
            return None
        refusal = http.HTTPStatus.NOT_FOUND
        return Response(refusal.value, refusal.phrase, Headers({"Content-Length": "0"}))

    def close(self) -> None:
        """Stop accepting; connections are closed by whoever serves them. Idempotent."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
            listener.close()
