"""Connections to Redis (or the embedded Valkey): one pool per process and purpose."""

from __future__ import annotations

import functools

import redis
import redis.asyncio
from django.conf import settings


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
