"""What a connection may take: the size of a request's head, the time to send it, a least speed for its body.

And a least speed at which an answer is read. uvicorn bounds none of these. A stranger needs no key to open
a connection, so what one may hold is bounded here. Waiting for an answer has no limit: runs have deadlines.

Who looks whether the server lives is answered while strangers hold all connections there may be: a few more
are taken for one question about health each, which has to come at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from webpool_site.web.unsent import drop, unsent_bytes

MOST_HEAD_BYTES = 64 * 2**10
MOST_HEADERS = 128
LEAST_BYTES_PER_S = 1024
# Answers are judged over a longer time than requests: who reads slowly takes them in lumps, of half the
# buffer of the peer's kernel each.
READ_TIMES_FOR_ANSWERS = 3
SPARE = 8
_SPARE_S = 2.0
_HEALTH = b"/v2/health/"
_TOO_LARGE = (431, "Request Header Fields Too Large")
_TOO_MANY = (503, "Service Unavailable")
_TOO_SLOW = (408, "Request Timeout")


class BoundedConnection(HttpToolsProtocol):
    """One connection, within settings.WEBPOOL_MAX_CONNECTIONS and WEBPOOL_READ_S."""

    _refused = False
    _spare = False
    _in_head = True
    _heads = 0
    _head_bytes = 0
    _body_bytes = 0
    _timer: asyncio.TimerHandle | None = None
    _unsent_bytes = 0
    _unsent_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # writing is paused while anything waits
        beyond = len(self.connections) - settings.WEBPOOL_MAX_CONNECTIONS
        self._spare = beyond > 0
        if beyond > SPARE:
            self._refuse(_TOO_MANY)
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_unsent_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_unsent()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_unsent_timer()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        was_in_head, heads = self._in_head, self._heads
        super().data_received(data)
        if was_in_head and self._in_head and self._heads == heads:  # no more of it than of a head
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._heads += 1
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if self._refused or size > MOST_HEAD_BYTES or len(self.headers) > MOST_HEADERS:
            self._refuse(_TOO_LARGE)
            return
        if self._spare and not self.url.startswith(_HEALTH):
            self._refuse(_TOO_MANY)
            return
        super().on_headers_complete()
        if self._spare:
            self.cycle.keep_alive = False
        self._in_head = False
        self._body_bytes = 0
        self._watch(self._check_body, settings.WEBPOOL_READ_S)

    def on_body(self, body: bytes) -> None:
        if self._refused:
            return
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._refused:
            return
        super().on_message_complete()
        self._stop_timer()
        self._in_head = True
        self._head_bytes = 0
        if self.cycle.response_complete:  # it was answered before its body had come
            self._expect_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_head and not self.pipeline:
            self._expect_head()

    def _expect_head(self) -> None:
        self._watch(self._too_slow, _SPARE_S if self._spare else settings.WEBPOOL_READ_S)

    def _check_body(self) -> None:
        """Once per WEBPOOL_READ_S: has enough come, unless it is us who do not read?"""
        least = LEAST_BYTES_PER_S * settings.WEBPOOL_READ_S
        if self._body_bytes < least and not self.flow.read_paused:
            self._too_slow()
            return
        self._body_bytes = 0
        self._watch(self._check_body, settings.WEBPOOL_READ_S)

    def _too_slow(self) -> None:
        answered = self.cycle is None or self.cycle.response_complete
        if self._head_bytes and answered:
            self._refuse(_TOO_SLOW)
            return
        self._refused = True
        self.transport.close()

    def _watch_unsent(self) -> None:
        """Also of a connection that is closing, which closes once all is sent."""
        self._unsent_bytes = unsent_bytes(self.transport)
        within_s = READ_TIMES_FOR_ANSWERS * settings.WEBPOOL_READ_S
        self._unsent_timer = self.loop.call_later(within_s, self._check_unsent, within_s)

    def _check_unsent(self, within_s: float) -> None:
        """Nothing was written in this time, so what is missing was taken: was it enough?"""
        if self._unsent_bytes - unsent_bytes(self.transport) < LEAST_BYTES_PER_S * within_s:
            self._refused = True
            drop(self.transport)
            return
        self._watch_unsent()

    def _stop_unsent_timer(self) -> None:
        if self._unsent_timer is not None:
            self._unsent_timer.cancel()
            self._unsent_timer = None

    def _watch(self, then: Callable[[], None], within_s: float) -> None:
        self._stop_timer()
        if not self.transport.is_closing():
            self._timer = self.loop.call_later(within_s, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, answer: tuple[int, str]) -> None:
        """Say why, and close; nothing of what came, or still comes, is looked at."""
        if self._refused:
            return
        self._refused = True
        self._stop_timer()
        status, phrase = answer
        head = f"HTTP/1.1 {status} {phrase}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        self.transport.write(head.encode())
        self.transport.close()
