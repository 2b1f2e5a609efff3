"""HTTP below Django: bodies with a limit, compression, answers. For ASGI applications of this package."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import math
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

import redis.exceptions
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.db import DatabaseError
from django.http import HttpRequest

from browsers import locations
from browsers.core.failures import Category
from inference.conversion.documents import is_large, most_bytes, parse
from inference.documents import JsonObject
from inference.errors import (
    Busy,
    InvalidRequest,
    RunFailed,
    TooLarge,
    TooSlow,
    Unauthorised,
    Unavailable,
    WebpoolError,
)
from inference.runs import serving
from inference.store.full_disk import is_full
from inference.store.paths import sayable
from inference.wire import apart, room

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
Headers = Iterable[tuple[str, str]]

log = logging.getLogger(__name__)
REQUEST_LIMIT = "WEBPOOL_MAX_REQUEST_MB"
UPLOAD_LIMIT = "WEBPOOL_MAX_UPLOAD_MB"
_WORTH_COMPRESSING_BYTES = 1024
_CHUNK_BYTES = 2**20
_MOST_DIGITS = 20  # of a length in bytes
LEAST_BYTES_PER_S = 2**20  # of a large body, while others wait for room
_USUALLY = 8  # so many times as large at the most is what a packed body holds
_WBITS = {"gzip": 31, "deflate": 15}


class ClientGone(Exception):
    """The caller closed the connection: there is nobody to answer."""


class UnsupportedEncoding(WebpoolError):
    status = 415
    category = Category.INVALID_INPUT


@dataclasses.dataclass(frozen=True)
class Answer:
    """A whole response."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_json(cls, document: object, status: int = 200, headers: Headers = ()) -> Answer:
        return cls(status, json.dumps(document).encode(), headers=tuple(headers))


def error_document(error: WebpoolError) -> JsonObject:
    """What every door answers when it refuses or fails."""
    document: JsonObject = {"error": sayable(str(error)), "category": error.category}
    if isinstance(error, RunFailed):
        document["run"] = error.run_id
    return document


def error_headers(error: WebpoolError) -> dict[str, str]:
    """Headers that belong to the error's status."""
    if isinstance(error, Busy):
        return {"Retry-After": str(math.ceil(error.retry_after_s))}
    if isinstance(error, Unauthorised):
        return {"WWW-Authenticate": "Bearer"}
    return dict(getattr(error, "headers", {}))


def as_webpool_error(error: Exception) -> WebpoolError:
    """Translate whatever went wrong into an error with a status; what nobody foresaw is logged.

    The error's tracebacks are let go of: their frames hold what the request brought, and the future that
    told of the error, so that gigabytes would stay until cycles are collected.
    """
    try:
        return _translated(error)
    finally:
        _forget_frames(error)


def _forget_frames(error: BaseException | None) -> None:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _translated(error: Exception) -> WebpoolError:
    if isinstance(error, WebpoolError):
        return error
    if isinstance(
        error, SuspiciousOperation
    ):  # more files or fields than Django takes, and its like
        return InvalidRequest(
            f"a form of at most {settings.DATA_UPLOAD_MAX_NUMBER_FILES} files and "
            f"{settings.DATA_UPLOAD_MAX_NUMBER_FIELDS} fields was expected, with an address that stays where "
            "it points; this request has more, or another form"
        )
    if isinstance(error, redis.exceptions.ResponseError):
        return Unavailable(f"Redis refuses ({error}); see `{locations.PROGRAM} doctor`")
    if isinstance(error, redis.exceptions.RedisError):
        return Unavailable(
            f"Redis does not answer ({type(error).__name__}); start the pool with `{locations.UP}`"
        )
    if is_full(error):
        return Unavailable(
            "the server's disk is full; nothing was kept: free some and send it again"
        )
    if isinstance(error, DatabaseError):
        log.error("the database cannot be used", exc_info=error)
        return Unavailable(
            f"the database cannot be used ({type(error).__name__}); see `{locations.PROGRAM} doctor` "
            "and the log"
        )
    log.error("a request failed", exc_info=error)
    # No word of what went wrong: it may name paths, or whatever else is the server's own.
    return WebpoolError(
        f"the server failed in a way that nobody foresaw ({type(error).__name__}); its log has the details"
    )


def failure(error: WebpoolError) -> Answer:
    return Answer.of_json(error_document(error), error.status, error_headers(error).items())


def limit_bytes(limit: str = REQUEST_LIMIT) -> int:
    """What the setting of that name, in MB, allows."""
    megabytes: int = getattr(settings, limit)
    return megabytes * 2**20


def too_large(came: str, limit: str = REQUEST_LIMIT) -> TooLarge:
    return TooLarge(
        f"the request has {came}, the limit is {limit_bytes(limit)} bytes "
        f"({getattr(settings, limit)} MB, {limit})"
    )


def check_declared_length(request: HttpRequest, limit: str = REQUEST_LIMIT) -> None:
    """Refuse a body that says it is too large, before a byte of it is read.

    Raises:
        TooLarge, InvalidRequest.
    """
    declared = request.headers.get("Content-Length")
    if declared is None:
        return
    if not (declared.isascii() and declared.isdigit() and len(declared) <= _MOST_DIGITS):
        raise InvalidRequest(f"Content-Length: expected a number of bytes, got {declared!r:.40}")
    if int(declared) > limit_bytes(limit):
        raise too_large(f"{int(declared)} bytes", limit)


async def read_body(request: HttpRequest, receive: Receive) -> bytearray:
    """The whole body, at most settings.WEBPOOL_MAX_REQUEST_MB, once there is room for it.

    Raises:
        TooLarge: it is, or grows, larger; the rest is not read.
        Busy: there is no room (`wire.room`).
        TooSlow: it comes slowly, and holds room that others wait for.
        ClientGone: the connection closed in the middle of it.
    """
    check_declared_length(request)
    expected = int(request.headers.get("Content-Length", room.SMALL))
    await room.held().grow(expected)
    body, began = bytearray(), time.monotonic()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit_bytes():
            raise too_large("more")
        late_s = time.monotonic() - began - len(body) / LEAST_BYTES_PER_S
        if late_s > settings.WEBPOOL_READ_S and room.held().crowds_out():
            raise TooSlow(
                f"the body came with less than {LEAST_BYTES_PER_S} bytes per second while others waited "
                "for room for theirs; send a smaller one"
            )
        if len(body) > expected:  # its length was not said
            expected = limit_bytes()
            await room.held().grow(expected)
        if not message.get("more_body", False):
            room.held().shrink(expected - len(body))
            return body


def inflate(body: bytes | bytearray, encoding: str, *, most: int) -> bytes | bytearray:
    """Undo a Content-Encoding; never builds more than `most` bytes and a piece.

    Raises:
        TooLarge: the content is larger than the limit once unpacked.
        InvalidRequest: the body is not in that encoding, or is cut short.
        UnsupportedEncoding: another encoding than gzip or deflate.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _WBITS:
        raise UnsupportedEncoding(
            f"Content-Encoding: expected gzip or deflate, got {encoding!r:.40}"
        )
    unpacked, view = bytearray(), memoryview(body)
    stream = zlib.decompressobj(_WBITS[encoding])
    try:
        for at in range(0, len(view), _CHUNK_BYTES):
            rest: bytes | memoryview = view[at : at + _CHUNK_BYTES]
            while rest:
                if stream.eof:  # gzip allows several members, one after another
                    stream = zlib.decompressobj(_WBITS[encoding])
                _grow(unpacked, stream.decompress(rest, _CHUNK_BYTES), most)
                rest = stream.unused_data if stream.eof else stream.unconsumed_tail
        while not stream.eof:
            piece = stream.decompress(b"", _CHUNK_BYTES)
            if not piece and not stream.eof:
                raise InvalidRequest(f"the {encoding} body ends before its content does")
            _grow(unpacked, piece, most)
    except zlib.error as error:
        raise InvalidRequest(f"the body is not {encoding}: {error}") from None
    return unpacked


async def inflated(body: bytearray, encoding: str, *, most: int) -> bytes | bytearray:
    """As `inflate`, in a serving thread where there is something to undo; what is large once there is room.

    Raises:
        As that; Busy: there is none (`wire.room`).
    """
    if not encoding:
        return body
    usually = max(room.SMALL, _USUALLY * len(body))  # a small one is undone once
    for bound in sorted({min(most, one) for one in (room.SMALL, usually, most)}):
        taken = bound if bound > room.SMALL else 0
        await room.held().grow(taken)
        content = await serving.in_thread(_inflated_within, body, encoding, bound, bound == most)
        room.held().shrink(taken - len(content or b""))
        if content is not None:
            if len(body) > room.SMALL and content is not body:
                room.held().shrink(len(body))  # which its holder lets go of
            return content
    raise AssertionError("the last bound is the most there may be")


def _inflated_within(
    body: bytes | bytearray, encoding: str, most: int, last: bool
) -> bytes | bytearray | None:
    """None: it has more, and may."""
    try:
        return inflate(body, encoding, most=most)
    except TooLarge:
        if last:
            raise
        return None


async def document(owner: str, body: bytearray, encoding: str = "") -> Any:
    """A body that is one JSON document; what is large is built in a process of its own, in the owner's turn.

    Raises:
        As `inflate` and `conversion.documents.parse`.
    """
    content = await inflated(body, encoding, most=most_bytes())
    if not is_large(content):
        return await serving.in_thread(parse, content)
    work = apart.desk().submit(owner, lambda child: apart.read(child, content))
    return await asyncio.wrap_future(work)


def _grow(unpacked: bytearray, piece: bytes, most: int) -> None:
    unpacked += piece
    if len(unpacked) > most:
        raise TooLarge(
            f"the request has more than {most} bytes once unpacked, and no more are taken "
            f"(WEBPOOL_MAX_JSON_MB for JSON, {REQUEST_LIMIT} with binary tensors)"
        )


def accepted_encoding(header: str) -> str:
    """gzip, deflate or nothing, as an Accept-Encoding header allows."""
    accepted = set()
    for part in header.lower().split(","):
        token, _, parameters = part.partition(";")
        if parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            accepted.add(token.strip())
    return next((name for name in _WBITS if name in accepted), "")


def deflate(body: bytes, accept_encoding: str) -> tuple[bytes, dict[str, str]]:
    """Pack a body as the caller accepts it; returns it with the headers that say so."""
    encoding = accepted_encoding(accept_encoding)
    if not encoding or len(body) < _WORTH_COMPRESSING_BYTES:
        return body, {}
    stream = zlib.compressobj(level=1, wbits=_WBITS[encoding])
    return stream.compress(body) + stream.flush(), {
        "Content-Encoding": encoding,
        "Vary": "Accept-Encoding",
    }


async def send_answer(send: Send, answer: Answer) -> None:
    headers: Mapping[str, str] = {
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        "X-Content-Type-Options": "nosniff",
        **dict(answer.headers),
    }
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": answer.body})
