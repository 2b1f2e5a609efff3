"""Connections to Redis (or the embedded Valkey): one pool per process and purpose."""

from __future__ import annotations

import functools
import hashlib
import os
import threading
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
    connection = _own.taken()
    try:
        connection.send_packed_command(_packed(commands))
        done = work()
        replies = [_reply(connection) for _ in commands]
    except BaseException:
        connection.disconnect()  # what it answers now is nobody's
        raise
    finally:
        _own.connection = connection
    return [_said(reply, command) for reply, command in zip(replies, commands, strict=True)], done


class _Own(threading.local):
    """A thread's own connection: to take one from a pool and give it back costs as much as to ask."""

    connection: _Connection = None
    pool: redis.ConnectionPool | None = None
    pid = 0

    def taken(self) -> _Connection:
        """Connected, with nothing left to read; who asks while it is taken gets another one."""
        pool, connection, self.connection = client().connection_pool, self.connection, None
        if connection is None or self.pool is not pool or self.pid != os.getpid():
            connection, self.pool, self.pid = pool.make_connection(), pool, os.getpid()
        connection.connect()
        try:
            stale = connection.can_read()
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError):
            stale = True
        if stale:
            connection.disconnect()
            connection.connect()
        return connection


_own = _Own()


def _packed(commands: Sequence[Command]) -> list[bytes | memoryview]:
    """Commands as the protocol has them; large values are not copied."""
    parts: list[bytes | memoryview] = []
    small: list[bytes | memoryview] = []
    for command in commands:
        small.append(b"*%d\r\n" % len(command))
        for value in command:
            data = value if isinstance(value, (bytes, memoryview)) else str(value).encode()
            small.append(b"$%d\r\n" % len(data))
            if len(data) > _COPIED_UP_TO:
                parts += (b"".join(small), data)
                small = []
            else:
                small.append(data)
            small.append(b"\r\n")
    return [*parts, b"".join(small)]


def _reply(connection: _Connection) -> Any:
    try:
        return connection.read_response()
    except redis.exceptions.ResponseError as refused:
        return refused


def _said(reply: Any, command: Command) -> Any:
    if isinstance(reply, redis.exceptions.NoScriptError):
        return ask(("EVAL", _SCRIPTS[str(command[1])], *command[2:]))[0]
    if isinstance(reply, redis.exceptions.ResponseError):
        raise reply
    return reply
