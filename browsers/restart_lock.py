"""One after the other: while a machine is short of memory, its browsers are not restarted at the same time.

Redis keys
    webpool:restarting:<host>   the browser whose turn it is; expires when its worker dies
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
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
    mine = _taken(key, browser_id, wait_s)
    try:
        yield mine
    finally:
        if mine:
            with contextlib.suppress(redis.exceptions.RedisError):
                _give_back(key, browser_id)


def _taken(key: str, browser_id: str, wait_s: float) -> bool:
    until = time.monotonic() + wait_s
    try:
        while not client().set(key, browser_id, nx=True, ex=_HELD_S):
            if time.monotonic() >= until:
                return False
            time.sleep(_LOOK_EVERY_S)
    except redis.exceptions.RedisError as error:
        log.warning("%s: nobody can say whose turn it is (%s)", browser_id, error)
        return False
    return True


def _give_back(key: str, browser_id: str) -> None:
    if client().get(key) == browser_id.encode():
        client().delete(key)
