"""Connections to Redis (or the embedded Valkey): one pool per process and purpose."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import redis
import redis.asyncio
from django.conf import settings

T = TypeVar("T")


def place(url: str) -> str:
    """Where a server is, as messages may say it: without user, password and parameters."""
    scheme, separator, rest = url.partition("?")[0].partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


@functools.cache
def client() -> redis.Redis:
    """For commands that answer at once; a server that hangs for 30 s is an error."""
    return redis.Redis.from_url(
        settings.WEBPOOL_REDIS_URL, socket_timeout=30, socket_connect_timeout=2
    )


@functools.cache
def blocking_client() -> redis.Redis:
    """For blocking pops, whose length the caller chooses."""
    return redis.Redis.from_url(
        settings.WEBPOOL_REDIS_URL, socket_timeout=None, socket_connect_timeout=2
    )


Value = str | bytes | memoryview | int | float
Command = tuple[Value, ...]
"""A command's name and what it is given."""
_Connection = Any  # redis-py declares no types for what is asked of one
_SCRIPTS: dict[str, str] = {}
_COPIED_UP_TO = 1 << 16
_SIZES = {size: b"$%d\r\n" % size for size in range(128)}
"""What comes before a value of so many bytes, for most of them."""


def script(text: str, keys: Sequence[str], args: Sequence[Value] = ()) -> Command:
    """The command that runs a Lua script, which the server may know already."""
    return ("EVALSHA", _digest(text), len(keys), *keys, *args)


@functools.cache
def _digest(text: str) -> str:
    sha1 = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    _SCRIPTS[sha1] = text
    return sha1


def ask(*commands: Command) -> list[Any]:
    """The server's answers, in one round trip, as they come.

    A script that the server does not know yet is done after the other commands.

    Raises:
        RedisError: of the first command that was refused. Where the server does not answer, nobody knows
            which of them were done.
    """
    return ask_meanwhile(commands, lambda: None)[0]


def ask_meanwhile(commands: Sequence[Command], work: Callable[[], T]) -> tuple[list[Any], T]:
    """The same, and what `work` returns: it is done while the server is at it.

    Raises:
        RedisError: as `ask`.
        Exception: whatever `work` raises; the commands are done all the same.
    """
    if not commands:
        return [], work()
    idle = _idle.now()
    connection = _connected(idle)
    try:
        connection.send_packed_command(packed(commands))
        done = work()
        replies = [_reply(connection) for _ in commands]
    except BaseException:
        connection.disconnect()  # what it answers now is nobody's
        raise
    finally:
        idle.append(connection)
    answers = [_known(reply, command) for reply, command in zip(replies, commands, strict=True)]
    for answer in answers:
        if isinstance(answer, redis.exceptions.ResponseError):
            raise answer
    return answers, done


class _Idle:
    """Connections that nobody uses now: a pool's own way to one, and back, costs as much as to ask.

    There are as many as were in use at once.
    """

    def __init__(self) -> None:
        self._of: object = None
        self._connections: list[_Connection] = []

    def now(self) -> list[_Connection]:
        """Those of this process to this server; a fork begins with none."""
        of = (os.getpid(), client().connection_pool)
        if self._of != of:
            self._of, self._connections = of, []
        return self._connections


_idle = _Idle()


def new_connection() -> _Connection:
    """One that no pool counts: it is its owner's to keep and to close."""
    pool = client().connection_pool
    return pool.connection_class(**pool.connection_kwargs)


def _connected(idle: list[_Connection]) -> _Connection:
    """One of them, or a new one, with nothing left to read."""
    try:
        connection = idle.pop()
    except IndexError:
        connection = new_connection()
    connection.connect()
    try:
        stale = connection.can_read()
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError):
        stale = True
    if stale:
        connection.disconnect()
        connection.connect()
    return connection


def packed(commands: Sequence[Command]) -> list[bytes | memoryview]:
    """Commands as the protocol has them; large values are not copied."""
    parts: list[bytes | memoryview] = []
    small: list[bytes | memoryview] = []
    for command in commands:
        small.append(b"*%d\r\n" % len(command))
        for value in command:
            data = value.encode() if type(value) is str else _raw(value)
            size = len(data)
            announced = _SIZES.get(size) or b"$%d\r\n" % size
            if size <= _COPIED_UP_TO:
                small += (announced, data, b"\r\n")
            else:
                parts += (b"".join((*small, announced)), data)
                small = [b"\r\n"]
    return [*parts, b"".join(small)]


def _raw(value: Value) -> bytes | memoryview:
    return value if isinstance(value, (bytes, memoryview)) else str(value).encode()


def _reply(connection: _Connection) -> Any:
    try:
        return connection.read_response()
    except redis.exceptions.ResponseError as refused:
        return refused.with_traceback(None)  # its frames would hold it, and what is being done


def _known(reply: Any, command: Command) -> Any:
    """The reply; of a script that the server did not know, to the script itself."""
    if not isinstance(reply, redis.exceptions.NoScriptError):
        return reply
    try:
        return ask(("EVAL", _SCRIPTS[str(command[1])], *command[2:]))[0]
    except redis.exceptions.ResponseError as refused:
        return refused
