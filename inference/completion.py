"""Tell whoever waits that a run ended, and wait for it without polling.

Redis key
    webpool:done:<run id>    list with an element once the run is terminal; a waiter moves the element
                             onto the same list, so that every waiter wakes
"""

from __future__ import annotations

import asyncio
import uuid
import weakref
from collections.abc import Sequence
from typing import Any

import redis.asyncio
from django.conf import settings

from browsers.redis import blocking_client, client


def _key(run_id: uuid.UUID | str) -> str:
    return f"webpool:done:{run_id}"


def signal(*run_ids: uuid.UUID | str) -> None:
    """Wake whoever waits for these runs; again does no harm."""
    pipe = client().pipeline(transaction=False)
    for run_id in run_ids:
        pipe.lpush(_key(run_id), b"1")
        pipe.expire(_key(run_id), settings.WEBPOOL_TENSOR_TTL_S)
    pipe.execute()


def wait(run_id: uuid.UUID | str, timeout_s: float) -> bool:
    """Block until the run is terminal or the time is over; whether it was signalled."""
    key = _key(run_id)
    seconds: Any = max(timeout_s, 0.01)  # the server takes fractions, redis-py's types do not
    return blocking_client().blmove(key, key, seconds, "LEFT", "RIGHT") is not None


def wait_any(run_ids: Sequence[uuid.UUID | str], timeout_s: float) -> bool:
    """Block until one of these runs is terminal or the time is over; whether one was signalled."""
    seconds: Any = max(timeout_s, 0.01)
    popped = blocking_client().blpop([_key(run_id) for run_id in run_ids], seconds)
    if popped is None:
        return False
    key, element = popped
    blocking_client().rpush(key, element)  # for other waiters; the key's expiry is set anew
    blocking_client().expire(key, settings.WEBPOOL_TENSOR_TTL_S)
    return True


_waiters: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = (
    weakref.WeakKeyDictionary()
)


def _waiting_client() -> redis.asyncio.Redis:
    """The running event loop's connections, one per waiter; idle ones are kept for the next."""
    loop = asyncio.get_running_loop()
    if loop not in _waiters:
        _waiters[loop] = redis.asyncio.Redis.from_url(
            settings.WEBPOOL_REDIS_URL, socket_timeout=None, socket_connect_timeout=2
        )
    return _waiters[loop]


async def wait_async(run_id: uuid.UUID | str, timeout_s: float) -> bool:
    """As `wait`, without holding a thread."""
    key = _key(run_id)
    seconds: Any = max(timeout_s, 0.01)
    return await _waiting_client().blmove(key, key, seconds, "LEFT", "RIGHT") is not None
