"""uvicorn's server, which rests while nobody asks for anything."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from types import FrameType
from typing import Any, Final

import uvicorn
from django.conf import settings

_DATE_EVERY_S: Final = 1.0


class RestingServer(uvicorn.Server):
    """Wakes once a second for the `Date` header, and at once for a signal.

    uvicorn wakes ten times a second to look whether it was told to stop.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls: Any = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if settings.WEBPOOL_GRPC_PORT and self.started:
            self._calls = await self._serve_calls()

    async def _serve_calls(self) -> Any:
        """gRPC, where it is asked for: its packages are imported then alone."""
        try:
            from webpool_site.web import rpc
        except ImportError as error:
            sys.exit(f"WEBPOOL_GRPC_PORT needs {error.name}: pip install 'webpool[grpc]'")
        host, application = self.config.host, self.config.loaded_app
        try:
            return await rpc.serve(application, host, settings.WEBPOOL_GRPC_PORT)
        except OSError as error:
            sys.exit(str(error))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._calls is not None:
            await self._calls.stop(self.config.timeout_graceful_shutdown)
        await super().shutdown(sockets)

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):  # a tick by whose number it writes the date anew
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DATE_EVERY_S):
                    await self._told.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._told.set)
