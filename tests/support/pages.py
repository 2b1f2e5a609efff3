"""A page on loopback for browser tests: cross-origin isolated, so that it may use threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from browsers.drivers import LaunchedBrowser
from browsers.processes import Network

Page = Callable[[LaunchedBrowser], str]
"""The address of a page, in the network of the browser that is to show it."""

HTML = b"<!doctype html><meta charset=utf-8><title>webpool test page</title><p id=p>here</p>"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(HTML)))
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(HTML)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base's name)
        """Silent: a test that fails prints the browser's log instead."""


@contextmanager
def page_server(network: Network) -> Iterator[str]:
    """The address of a page in a browser's network that lives as long as the context."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = network.listener()
    server.server_address = server.socket.getsockname()
    server.server_activate()
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="page-server", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def pages() -> Iterator[Page]:
    """Pages that live as long as the context."""
    with ExitStack() as servers:
        yield lambda browser: servers.enter_context(page_server(browser.network))
