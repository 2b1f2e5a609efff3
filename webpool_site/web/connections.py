"""What a connection may take: the size of a request's head, the time to send it, a least speed for its body.

And a least speed at which an answer is read. uvicorn bounds none of these. A stranger needs no key to open
a connection, so what one may hold is bounded here. Waiting for an answer has no limit: runs have deadlines.

Where there are as many connections as there may be, one that the server waits for gives way to a new one
(`_Waited`): strangers who hold all of them shut nobody out, whose request comes at once.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from typing import Final

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from webpool_site.web.unsent import drop, unsent_bytes

MOST_HEAD_BYTES = 64 * 2**10
MOST_HEADERS = 128
LEAST_BYTES_PER_S = 1024
# Answers are judged over a longer time than requests: who reads slowly takes them in lumps, of half the
# buffer of the peer's kernel each.
READ_TIMES_FOR_ANSWERS = 3
_LEAST_S = 0.1
"""Who keeps the server waiting for less does not give way."""
_TOO_LARGE = (431, "Request Header Fields Too Large")
_TOO_MANY = (503, "Service Unavailable")
_TOO_SLOW = (408, "Request Timeout")


class _For(enum.IntEnum):
    """What a connection keeps the server waiting for; what costs its peer least to lose comes first."""

    HEAD = 0
    READER = 1  # of an answer
    BODY = 2


class _Waited:
    """Connections that the server waits for, those that keep it waiting longest first."""

    def __init__(self) -> None:
        self._all: dict[_For, dict[BoundedConnection, float]] = {what: {} for what in _For}

    def begin(self, one: BoundedConnection, what: _For) -> None:
        self._all[what].setdefault(one, one.loop.time())

    def end(self, one: BoundedConnection, *whats: _For) -> None:
        for what in whats:
            self._all[what].pop(one, None)

    def take(self, now: float) -> BoundedConnection | None:
        """Who gives way, and is waited for no more; None: the server waits for nobody for long enough."""
        for waiting in self._all.values():
            # Whose body is not read for now waits for the server.
            ours = ((one, since) for one, since in waiting.items() if not one.flow.read_paused)
            one, since = next(ours, (None, now))
            if one is not None and now - since >= _LEAST_S:
                self.end(one, *_For)
                return one
        return None


_WAITED: Final = _Waited()


class BoundedConnection(HttpToolsProtocol):
    """One connection, within settings.WEBPOOL_MAX_CONNECTIONS and WEBPOOL_READ_S."""

    _refused = False
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
        if len(self.connections) > settings.WEBPOOL_MAX_CONNECTIONS:
            other = _WAITED.take(self.loop.time())
            if other is None:
                self._refuse(_TOO_MANY)
                return
            other.give_way()
        self._expect_head()

    def give_way(self) -> None:
        """To another connection, and at once: a reader is not waited for any more.

        One that has asked nothing yet, or awaits another answer first, is closed without a word.
        """
        if self.flow.write_paused:
            self._refused = True
            drop(self.transport)
        elif self._head_bytes if self._in_head else self._asks_alone():
            self._refuse(_TOO_MANY)
        else:
            self._refused = True
            self._stop_timer()
            self.transport.close()

    def _asks_alone(self) -> bool:
        """Whether what is written next is the answer to what is being read."""
        return not self.pipeline and not self.cycle.response_started

    def connection_lost(self, exc: Exception | None) -> None:
        _WAITED.end(self, *_For)
        self._stop_timer()
        self._stop_unsent_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        _WAITED.begin(self, _For.READER)
        self._watch_unsent()

    def resume_writing(self) -> None:
        super().resume_writing()
        _WAITED.end(self, _For.READER)
        self._stop_unsent_timer()
        self._wait_for_head()

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
        super().on_headers_complete()
        self._in_head = False
        self._body_bytes = 0
        _WAITED.end(self, _For.HEAD)
        _WAITED.begin(self, _For.BODY)
        self._watch(self._check_body)

    def on_body(self, body: bytes) -> None:
        if self._refused:
            return
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._refused:
            return
        super().on_message_complete()
        _WAITED.end(self, _For.BODY)
        self._stop_timer()
        self._in_head = True
        self._head_bytes = 0
        if self.cycle.response_complete:  # it was answered before its body had come
            self._expect_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_head and self._is_answered():
            self._expect_head()

    def _is_answered(self) -> bool:
        """Whether whatever was asked is; its latest answer may be unread."""
        return self.cycle is None or self.cycle.response_complete

    def _expect_head(self) -> None:
        # What has come already is read first: that takes the loop one turn.
        self.loop.call_soon(self.loop.call_soon, self._wait_for_head)
        self._watch(self._too_slow)

    def _wait_for_head(self) -> None:
        waits = self._in_head and self._is_answered() and not self.flow.write_paused
        if waits and not self.transport.is_closing():
            _WAITED.begin(self, _For.HEAD)

    def _check_body(self) -> None:
        """Once per WEBPOOL_READ_S: has enough come, unless it is us who do not read?"""
        least = LEAST_BYTES_PER_S * settings.WEBPOOL_READ_S
        if self._body_bytes < least and not self.flow.read_paused:
            self._too_slow()
            return
        self._body_bytes = 0
        self._watch(self._check_body)

    def _too_slow(self) -> None:
        if self._head_bytes and self._is_answered():
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

    def _watch(self, then: Callable[[], None]) -> None:
        self._stop_timer()
        if not self.transport.is_closing():
            self._timer = self.loop.call_later(settings.WEBPOOL_READ_S, then)

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
