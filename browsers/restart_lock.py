"""One after the other: while a machine is short of memory, its browsers are not restarted at the same time.

Redis keys
    webpool:restarting:<host>   redis-py's lock; expires when the worker dies whose turn it is
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator

import redis.exceptions

from browsers.redis import client

log = logging.getLogger(__name__)
_HELD_S = 120  # the longest that a restart may take with its probe
_LOOK_EVERY_S = 0.2


@contextlib.contextmanager
def turn(browser_id: str, *, wait_s: float) -> Iterator[bool]:
    """Wait for this machine's turn; True: it is ours until this ends.

    False: others kept it for longer than `wait_s`, or Redis does not answer.
    """
    key = f"webpool:restarting:{socket.gethostname()}"
    lock = client().lock(key, timeout=_HELD_S, sleep=_LOOK_EVERY_S, blocking_timeout=wait_s)
    try:
        mine = lock.acquire()
    except redis.exceptions.RedisError as error:
        log.warning("%s: nobody can say whose turn it is (%s)", browser_id, error)
        mine = False
    try:
        yield mine
    finally:
        if mine:
            # It was ours for too long, or Redis is gone: it has expired, or will.
            with contextlib.suppress(redis.exceptions.RedisError):
                lock.release()
