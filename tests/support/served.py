"""A worker's server for its page, which plain clients speak to."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp

from browsers.bridge import Bridge, PageEvent
from browsers.core.protocol import WireTensor, decode_frame, encode_frame
from browsers.processes import HOST

SHA256 = "ab" * 32
Page = aiohttp.ClientWebSocketResponse


class Served:
    """A running bridge and what it reported."""

    def __init__(self, folder: Path) -> None:
        (folder / "ort.mjs").write_text("export {};")
        (folder / "secret.txt").write_text("no")
        (folder / SHA256).write_bytes(bytes(range(256)) * 1000)
        self.events: list[PageEvent] = []
        self.hears: Callable[[PageEvent], None] = self.events.append
        self.bridge = Bridge(
            files=lambda name: {SHA256: folder / SHA256}[name],
            runtime_dir=folder,
            on_event=lambda event: self.hears(event),
        )
        self.bridge.start()
        self.bridge.listen(HOST)
        self.url = self.bridge.url(threads=2)
        self.base = self.url.split("?")[0]
        port = parse_qs(urlsplit(self.url).query)["socket"][0]
        self.socket_url = f"ws://127.0.0.1:{port}/"
        _, headers, _ = asyncio.run(get(self.url))
        self.cookie: str = headers["Set-Cookie"].partition(";")[0]

    @asynccontextmanager
    async def page(self, path: str = "", **headers: str) -> AsyncIterator[Page]:
        headers = {"Origin": self.bridge.origin, "Cookie": self.cookie, **headers}
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(self.socket_url + path, headers=headers, max_msg_size=0) as socket,
        ):
            yield socket

    def engine(self, engine: Callable[[Page], Awaitable[None]]) -> threading.Thread:
        """Run a page's engine in a thread, with a page that does nothing."""

        async def run() -> None:
            async with self.page("engine") as socket:
                await engine(socket)

        async def idle(socket: Page) -> None:
            await socket.receive()

        if not self.bridge.connected:
            self.talk(idle)
        thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        thread.start()
        return thread

    def talk(self, page: Callable[[Page], Awaitable[None]]) -> threading.Thread:
        """Run a page in a thread; returns when it is connected."""

        async def run() -> None:
            async with self.page() as socket:
                await page(socket)

        thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        thread.start()
        until = time.monotonic() + 60
        while not self.bridge.connected and time.monotonic() < until:
            time.sleep(0.005)
        assert self.bridge.connected
        return thread


async def get(url: str, **headers: str) -> tuple[int, Any, bytes]:
    async with aiohttp.ClientSession() as client, client.get(url, headers=headers) as answer:
        return answer.status, answer.headers, await answer.read()


def reply(frame: bytes, fields: dict[str, Any], tensors: list[WireTensor] | None = None) -> bytes:
    header, _ = decode_frame(frame)
    return b"".join(encode_frame({"page_ms": 0, **fields, "id": header["id"]}, tensors or []))
