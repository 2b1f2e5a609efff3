"""The worker's local server: gives a browser its page and files, and carries requests to the page.

Files have one port of the browser's network (page_files.py), the socket another one (websocket.py), which
wants the page's cookie, too, and its Origin, so that no other page of the browser gets in:

    ws: /                binary frames of browsers/core/protocol.py, to the page
    ws: /engine          the same, straight to its engine (line.py)

`request` and `step` are called from any other thread and block until the reply, the deadline or the end of
the connection, whichever comes first.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from browsers.bridge.line import Line
from browsers.bridge.page_files import PageFiles
from browsers.bridge.websocket import Closed, Connection, WebSocketServer
from browsers.core.errors import (
    BrowserError,
    ConnectionLost,
    DeadlinePassed,
    reported,
)
from browsers.core.protocol import WireTensor, decode_frame, encode_frame
from browsers.processes import Network

log = logging.getLogger(__name__)

_ENGINE: Final = "/engine"

Reply = tuple[dict[str, Any], list[WireTensor]]


@dataclass(frozen=True)
class PageEvent:
    """What the page says unasked: hello, engine_dead, device_lost; `closed` when its socket is gone.

    The end of one connection is told before the hello of the next.
    """

    name: str
    fields: Mapping[str, Any]


class Bridge:
    """The server and the one page connected to it; a new connection replaces the old one.

    `on_event` is called in whatever thread sees it first, one event after another.
    """

    def __init__(
        self,
        *,
        files: Callable[[str], Path],
        runtime_dir: Path,
        on_event: Callable[[PageEvent], None],
    ) -> None:
        self._on_event = on_event
        self._files = PageFiles(files, runtime_dir)
        self._ids = itertools.count(1)
        self._pending: dict[int, tuple[Connection, queue.SimpleQueue[Reply | BrowserError]]] = {}
        self._page: Connection | None = None
        self._line = Line()
        self._switching, self._telling = threading.Lock(), threading.Lock()
        self._sockets = WebSocketServer(admits=self._files.admits, serve=self._serve_socket)

    def __repr__(self) -> str:
        state = "connected" if self.connected else "waiting"
        return f"<Bridge {self.origin} {state} pending={len(self._pending)}>"

    @property
    def origin(self) -> str:
        return self._files.origin

    @property
    def connected(self) -> bool:
        return self._page is not None

    @property
    def connection(self) -> Connection | None:
        """The page's connection now, to be told from a later one."""
        return self._page

    def url(self, *, threads: int) -> str:
        """A new address of the page, for one load; an earlier one that nobody used is void.

        `threads` is how many onnxruntime may use for WebAssembly.
        """
        return self._files.address(f"threads={threads}&socket={self._sockets.port}")

    # --- life ---

    def start(self) -> None:
        """Get ready to serve; nobody can connect before `listen`."""
        self._files.start()

    def listen(self, network: Network) -> None:
        """Serve in that network, on free loopback ports, and no more where it served before.

        OSError when the network is gone.
        """
        self.drop_connection()
        files, pages = network.listener(), network.listener()
        self._files.listen(files)
        self._sockets.listen(pages, origin=self.origin)

    def close(self) -> None:
        """Fail what is pending, close the socket, stop the server and its thread. Idempotent."""
        if self._files.closed:
            return
        self._sockets.close()
        self._leave("the server was closed")
        self._files.close()

    def drop_connection(self, connection: Connection | None = None) -> None:
        """Close the page's socket, or that one, which may be gone; the page connects again by itself.

        With it ends its engine's, which does so, too.
        """
        page = connection or self._page
        if page is not None:
            page.close()

    # --- the socket ---

    def _serve_socket(self, connection: Connection) -> None:
        if connection.path == _ENGINE:
            self._line.connect(connection)
        else:
            self._serve_page(connection)

    def _serve_page(self, page: Connection) -> None:
        """Read one connection until it ends, in its own thread."""
        self._leave("a new connection of the page replaced the old one", to=page)
        try:
            while True:
                self._receive(page, page.receive())
        except Closed as closed:
            why = str(closed)
        except (BrowserError, ValueError, KeyError) as broken:
            why = f"the page sent a broken message: {broken!r}"
        self._leave(why, only=page)

    def _leave(
        self, why: str, *, to: Connection | None = None, only: Connection | None = None
    ) -> None:
        """Give up the page's connection, if there is one, for that one or none; `only`: unless it is another.

        Its end is told once, by whoever is first to see it, and before anybody hears of the next one, which
        counts meanwhile: the listener may take its time. Who waits for an answer hears of it afterwards.
        """
        with self._switching:
            former = self._page
            if only is not None and only is not former:
                return
            self._page = to
            if former is None:
                return
            former.close()  # what is being sent over it fails, and waits for no answer
            # The next one may have been asked something by now.
            waiting = [each for page, each in list(self._pending.values()) if page is former]
            self._line.cut()
            self._telling.acquire()
        try:
            self._tell(PageEvent("closed", {"message": why}))
            for each in waiting:
                each.put(ConnectionLost(f"the request was not answered: {why}"))
        finally:
            self._telling.release()

    def _tell(self, event: PageEvent) -> None:
        """Whatever the listener does wrong must not end the connection."""
        try:
            self._on_event(event)
        except Exception:
            log.exception("the listener failed on %s", event)

    def _receive(self, page: Connection, frame: memoryview) -> None:
        header, tensors = decode_frame(frame)
        event = header.pop("event", None)
        if event is not None:
            with self._telling:
                if self._page is page:
                    self._tell(PageEvent(event, header))
            return
        _, waiting = self._pending.get(header.pop("id"), (page, None))
        if waiting is not None:
            header["arrived"] = time.monotonic()
            waiting.put((header, tensors))

    # --- requests ---

    def request(
        self,
        op: str,
        header: Mapping[str, Any],
        tensors: Sequence[WireTensor] = (),
        *,
        timeout_s: float,
        meanwhile: Callable[[], object] | None = None,
    ) -> Reply:
        """Ask the page and wait; `meanwhile` is called once it has the request, and must not raise.

        Raises NotLoaded, StepRefused or the BrowserError that the page reported, ConnectionLost at once
        when there is or remains no connection, DeadlinePassed after `timeout_s`.
        """
        page = self._page
        if page is None:
            raise ConnectionLost("no page is connected")
        number = next(self._ids)
        waiting: queue.SimpleQueue[Reply | BrowserError] = queue.SimpleQueue()
        self._pending[number] = page, waiting
        began = time.monotonic()
        try:
            page.send(
                encode_frame({**header, "op": op, "id": number}, tensors), timeout_s=timeout_s
            )
            if meanwhile is not None:
                meanwhile()
            answer = waiting.get(timeout=max(0.0, began + timeout_s - time.monotonic()))
        except Closed as closed:
            raise ConnectionLost(f"the request was not sent: {closed}") from closed
        except queue.Empty:
            raise DeadlinePassed(
                f"the page did not answer {op!r} within {timeout_s:.1f} s"
            ) from None
        finally:
            del self._pending[number]
        if isinstance(answer, BrowserError):
            raise answer
        answer[0]["round_trip_ms"] = (answer[0].pop("arrived") - began) * 1000
        return _answered(answer)

    def forget_engine(self) -> None:
        """It was replaced, and its connection may not have ended yet; steps wait for the new one's."""
        self._line.forget()

    def step(
        self, op: str, header: Mapping[str, Any], tensors: Sequence[WireTensor], *, timeout_s: float
    ) -> Reply:
        """Ask the engine itself and wait; one that is starting is waited for.

        Raises as `request` does.
        """
        if not self.connected:
            raise ConnectionLost("no page is connected")
        return _answered(self._line.ask(op, header, tensors, timeout_s=timeout_s))


def _answered(answer: Reply) -> Reply:
    error_fields = answer[0].get("error")
    if error_fields is not None:
        raise reported(error_fields)
    return answer
