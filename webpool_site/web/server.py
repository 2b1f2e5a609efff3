"""uvicorn's server, which rests while nobody asks for anything."""

from __future__ import annotations

import asyncio
import contextlib
from types import FrameType
from typing import Final

import uvicorn

_DATE_EVERY_S: Final = 1.0


class RestingServer(uvicorn.Server):
    """Wakes once a second for the `Date` header, and at once for a signal.

    uvicorn wakes ten times a second to look whether it was told to stop.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

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
