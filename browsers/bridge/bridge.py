"""The worker's local server: gives a browser its page and files, and carries requests to the page.

Files come from an aiohttp server in a thread of its own, on a free loopback port of the browser's
network; the socket has another port (websocket.py). The page's address holds a random ticket,
which is good for one load; whoever loads the page with it gets a cookie, and without that nothing is
served. So no address, log or list of processes holds what would let somebody in. The socket also checks
its Origin, so that no other page of the browser gets in:

    /                    the page (static/browsers/runtime/index.html)
    /<module>.js         its modules
    /ort/<file>          onnxruntime-web's files
    /files/<sha256>      model files, immutable
    ws: /                binary frames of browsers/core/protocol.py, to the page
    ws: /engine          the same, straight to its engine (line.py)

`request` and `step` are called from any other thread and block until the reply, the deadline or the end of
the connection, whichever comes first.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from browsers.bridge.line import Line
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

PAGE_DIR: Final = Path(__file__).parents[1] / "static" / "browsers" / "runtime"

_HOST: Final = "127.0.0.1"
_COOKIE: Final = "webpool"
_ENGINE: Final = "/engine"
# A connection that went silent while it was kept is not asked for the next page.
_KEEP_ALIVE_S: Final = 2.0
_MIME: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
}
_ISOLATION: Final[Mapping[str, str]] = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_IMMUTABLE: Final[Mapping[str, str]] = {"Cache-Control": "public, max-age=31536000, immutable"}
_SHA256: Final = re.compile(r"[0-9a-f]{64}")

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

    `on_event` is called in the server's thread and must not block.
    """

    def __init__(
        self,
        *,
        files: Callable[[str], Path],
        runtime_dir: Path,
        on_event: Callable[[PageEvent], None],
    ) -> None:
        self._files = files
        self._runtime_dir = runtime_dir
        self._on_event = on_event
        self._cookie = secrets.token_urlsafe(24)
        self._ticket = ""
        self._port = 0
        self._ids = itertools.count(1)
        self._pending: dict[int, queue.SimpleQueue[Reply | BrowserError]] = {}
        self._page: Connection | None = None
        self._line = Line()
        self._switching = threading.Lock()
        self._sockets = WebSocketServer(admits=self._admits, serve=self._serve_socket)
        self._loop = asyncio.new_event_loop()
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None
        self._thread = threading.Thread(
            target=self._serve_files, name="webpool-bridge", daemon=True
        )

    def __repr__(self) -> str:
        state = "connected" if self.connected else "waiting"
        return f"<Bridge {_HOST}:{self._port} {state} pending={len(self._pending)}>"

    @property
    def origin(self) -> str:
        return f"http://{_HOST}:{self._port}"

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
        self._ticket = secrets.token_urlsafe(24)
        options = f"threads={threads}&socket={self._sockets.port}"
        return f"{self.origin}/?{options}&ticket={self._ticket}"

    # --- life ---

    def start(self) -> None:
        """Get ready to serve; nobody can connect before `listen`."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._set_up(), self._loop).result(timeout=10)

    def listen(self, network: Network) -> None:
        """Serve in that network, on free loopback ports, and no more where it served before.

        OSError when the network is gone.
        """
        self.drop_connection()
        files, pages = network.listener(), network.listener()
        asyncio.run_coroutine_threadsafe(self._serve_at(files), self._loop).result(timeout=10)
        self._sockets.listen(pages, origin=self.origin)

    def close(self) -> None:
        """Fail what is pending, close the socket, stop the server and its thread. Idempotent."""
        if self._loop.is_closed():
            return
        self._sockets.close()
        self._leave("the server was closed")
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(timeout=10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=10)
        self._loop.close()

    def drop_connection(self, connection: Connection | None = None) -> None:
        """Close the page's socket, or that one, which may be gone; the page connects again by itself.

        With it ends its engine's, which does so, too.
        """
        page = connection or self._page
        if page is not None:
            page.close()

    def _serve_files(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _set_up(self) -> None:
        app = web.Application(client_max_size=0)
        app.router.add_get("/", self._index)
        app.router.add_get("/ort/{name}", self._runtime)
        app.router.add_get("/files/{sha256}", self._file)
        app.router.add_get("/{name}", self._module)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.5, keepalive_timeout=_KEEP_ALIVE_S
        )
        await self._runner.setup()

    async def _serve_at(self, listener: socket.socket) -> None:
        assert self._runner is not None, "start() comes first"
        former, self._site = self._site, web.SockSite(self._runner, listener)
        if former is not None:
            await former.stop()
        self._port = listener.getsockname()[1]
        await self._site.start()

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    # --- files ---

    def _admits(self, cookies: str | None) -> bool:
        """Whether a request with this Cookie header comes from the page."""
        try:
            sent = SimpleCookie(cookies)[_COOKIE].value
        except (CookieError, KeyError):
            return False
        return secrets.compare_digest(sent.encode(), self._cookie.encode())

    def _takes(self, ticket: str) -> bool:
        """Whether it is the ticket, which nobody can use again."""
        fits = bool(self._ticket) and secrets.compare_digest(ticket.encode(), self._ticket.encode())
        if fits:
            self._ticket = ""
        return fits

    def _check(self, request: web.Request, *, admitted: bool = False) -> None:
        """Refuse strangers, and a Host that another name was resolved to."""
        admitted = admitted or self._admits(request.headers.get("Cookie"))
        if not admitted or request.host != f"{_HOST}:{self._port}":
            raise web.HTTPNotFound

    def _answer(self, path: Path, extra: Mapping[str, str], mime: str) -> web.FileResponse:
        if not path.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(
            path, headers={**_ISOLATION, **extra, "Content-Type": mime}, chunk_size=1 << 20
        )

    async def _index(self, request: web.Request) -> web.StreamResponse:
        with_ticket = self._takes(request.query.get("ticket", ""))
        self._check(request, admitted=with_ticket)
        headers = {"Cache-Control": "no-store"}
        if with_ticket:
            headers["Set-Cookie"] = f"{_COOKIE}={self._cookie}; HttpOnly; SameSite=Strict; Path=/"
        return self._answer(PAGE_DIR / "index.html", headers, _MIME[".html"])

    async def _module(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        return self._static(request, PAGE_DIR, name, {"Cache-Control": "no-cache"})

    async def _runtime(self, request: web.Request) -> web.StreamResponse:
        return self._static(request, self._runtime_dir, request.match_info["name"], _IMMUTABLE)

    def _static(
        self, request: web.Request, folder: Path, name: str, extra: Mapping[str, str]
    ) -> web.StreamResponse:
        self._check(request)
        mime = _MIME.get(Path(name).suffix)
        if mime is None or Path(name).name != name:
            raise web.HTTPNotFound
        return self._answer(folder / name, extra, mime)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        sha256 = request.match_info["sha256"]
        if not _SHA256.fullmatch(sha256):
            raise web.HTTPNotFound
        try:
            path = self._files(sha256)
        except KeyError:
            raise web.HTTPNotFound from None
        return self._answer(path, _IMMUTABLE, "application/octet-stream")

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
        with self._switching:
            if self._page is page:
                self._page = None
                self._ended(why)

    def _leave(self, why: str, *, to: Connection | None = None) -> None:
        """End the page's connection, if there is one, for that one or none."""
        with self._switching:
            former, self._page = self._page, to
            if former is not None:
                self._ended(why)
        if former is not None:
            former.close()

    def _ended(self, why: str) -> None:
        """Of the page's connection, told while switching, so that nobody hears of the next one before.

        Once: by whoever is first to see it, a newer connection or the thread that reads this one.
        """
        self._line.cut()
        self._tell(PageEvent("closed", {"message": why}))
        self._fail_pending(why)

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
            with self._switching:
                if self._page is page:
                    self._tell(PageEvent(event, header))
            return
        waiting = self._pending.get(header.pop("id"))
        if waiting is not None:
            header["arrived"] = time.monotonic()
            waiting.put((header, tensors))

    def _fail_pending(self, why: str) -> None:
        for waiting in list(self._pending.values()):
            waiting.put(ConnectionLost(f"the request was not answered: {why}"))

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
        self._pending[number] = waiting
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
