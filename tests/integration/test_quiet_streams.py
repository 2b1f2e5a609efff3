"""A stream that has nothing to say, over a real socket: its reader is not one who does not read."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn

from webpool_site.web.connections import READ_TIMES_FOR_ANSWERS, BoundedConnection

READ_S = 0.2
EVENTS = 2
LARGE = b" " * 2**23  # what no kernel takes at once: the writing waits for the reader


async def quiet(scope: Any, receive: Any, send: Any) -> None:
    """An event, then nothing for longer than an unread answer may wait, and so on."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(EVENTS):
        await send({"type": "http.response.body", "body": LARGE + b"event\n", "more_body": True})
        await asyncio.sleep(3 * READ_TIMES_FOR_ANSWERS * READ_S)
    await send({"type": "http.response.body", "body": b"end\n"})


async def read_all() -> bytes:
    server = uvicorn.Server(
        uvicorn.Config(quiet, port=0, http=BoundedConnection, lifespan="off", log_level="error")
    )
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer
    finally:
        await server.shutdown()


def test_who_waits_for_events_stays(settings: Any) -> None:
    settings.WEBPOOL_READ_S = READ_S
    answer = asyncio.run(read_all())
    assert (answer.count(b"event\n"), answer.count(b"end\n")) == (EVENTS, 1)
