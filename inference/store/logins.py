"""How often a password may be tried: counted in Redis, for each name and address.

Redis keys
    webpool:login:<digest of what is counted>    failures in the last WINDOW_S seconds; expires
"""

from __future__ import annotations

import hashlib
import logging

import redis.exceptions

from browsers.redis import client

log = logging.getLogger(__name__)
WINDOW_S = 300
MOST_FOR_NAME = 10  # of one name from one address
MOST_FROM_ADDRESS = 50


def wait_s(name: str, address: str) -> int:
    """Seconds until this name may be tried again from this address; 0: now.

    A server without its store lets its operator in: the passwords stay, only the count is missing.
    """
    try:
        pipe = client().pipeline(transaction=False)
        counted = _counted(name, address)
        for key in counted:
            pipe.get(key)
            pipe.ttl(key)
        found = pipe.execute()
    except redis.exceptions.RedisError as error:
        log.warning("logins are not counted: Redis does not answer (%s)", type(error).__name__)
        return 0
    counts = zip(found[::2], found[1::2], counted.values(), strict=True)
    return max([0, *(max(1, ttl) for count, ttl, most in counts if int(count or 0) >= most)])


def count_failure(name: str, address: str) -> None:
    """Note that a wrong password came."""
    try:
        pipe = client().pipeline(transaction=False)
        for key in _counted(name, address):
            pipe.set(key, 0, ex=WINDOW_S, nx=True)
            pipe.incr(key)
        pipe.execute()
    except redis.exceptions.RedisError as error:
        log.warning("a login is not counted: Redis does not answer (%s)", type(error).__name__)


def _counted(name: str, address: str) -> dict[str, int]:
    def key(*parts: str) -> str:
        digest = hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace"))
        return f"webpool:login:{digest.hexdigest()[:32]}"

    return {key(name, address): MOST_FOR_NAME, key(address): MOST_FROM_ADDRESS}
