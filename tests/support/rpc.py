"""The gRPC port of a server in a thread of this process, below which is the whole application."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from tests.support.asgi import application
from tests.support.stack import free_port
from webpool_site.web import rpc


@contextlib.contextmanager
def listening() -> Iterator[int]:
    """Yields the port."""
    loop, found = asyncio.new_event_loop(), free_port()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    begun = asyncio.run_coroutine_threadsafe(rpc.serve(application, "127.0.0.1", found), loop)
    server = begun.result(30)
    try:
        yield found
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(None), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
