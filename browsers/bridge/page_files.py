"""The page and all that it loads, for one page: whoever has the ticket, and then the cookie, gets it.

An aiohttp server in a thread of its own, on a free loopback port of the browser's network. The page's address
holds a random ticket, which is good for one load; whoever loads the page with it gets a cookie, and without
that nothing is served. So no address, log or list of processes holds what would let somebody in.

    /                    the page (static/browsers/runtime/index.html)
    /<module>.js         its modules
    /ort/<file>          onnxruntime-web's files
    /files/<sha256>      model files, immutable
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Final

from aiohttp import web

PAGE_DIR: Final = Path(__file__).parents[1] / "static" / "browsers" / "runtime"

_HOST: Final = "127.0.0.1"
_COOKIE: Final = "webpool"
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


class PageFiles:
    """Serves nobody before `listen`."""

    def __init__(self, files: Callable[[str], Path], runtime_dir: Path) -> None:
        self._files = files
        self._runtime_dir = runtime_dir
        self._cookie = secrets.token_urlsafe(24)
        self._ticket = ""
        self._port = 0
        self._loop = asyncio.new_event_loop()
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None
        self._thread = threading.Thread(
            target=self._serve_files, name="webpool-bridge", daemon=True
        )

    @property
    def origin(self) -> str:
        return f"http://{_HOST}:{self._port}"

    @property
    def closed(self) -> bool:
        return self._loop.is_closed()

    def address(self, options: str) -> str:
        """A new address of the page, for one load; an earlier one that nobody used is void."""
        self._ticket = secrets.token_urlsafe(24)
        return f"{self.origin}/?{options}&ticket={self._ticket}"

    # --- life ---

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._set_up(), self._loop).result(timeout=10)

    def listen(self, listener: socket.socket) -> None:
        """Serve there, and no more where it served before."""
        asyncio.run_coroutine_threadsafe(self._serve_at(listener), self._loop).result(timeout=10)

    def close(self) -> None:
        """Stop the server and its thread, once."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(timeout=10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=10)
        self._loop.close()

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

    def admits(self, cookies: str | None) -> bool:
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
        admitted = admitted or self.admits(request.headers.get("Cookie"))
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
