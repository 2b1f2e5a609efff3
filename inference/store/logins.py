"""How often a password may be tried: counted in Redis, for each name and address.

A name is counted from everywhere, too, for addresses cost nothing to who has many. Strangers could lock its
owner out with that: where they logged in before, only what came from that address counts.

Redis keys
    webpool:login:<digest of what is counted>         failures in the last WINDOW_S seconds; expires
    webpool:login:known:<digest of name and address>  there was a right password; expires after KNOWN_S
"""

from __future__ import annotations

import hashlib
import logging

import redis.exceptions

from browsers.redis import client

log = logging.getLogger(__name__)
WINDOW_S = 300
KNOWN_S = 30 * 86_400
MOST_FOR_NAME = 10  # of one name from one address
MOST_FROM_ADDRESS = 50
MOST_FOR_NAME_ANYWHERE = 100  # of one name from addresses where it was not logged in before


def wait_s(name: str, address: str) -> int:
    """Seconds until this name may be tried again from this address; 0: now.

    A server without its store lets its operator in: the passwords stay, only the count is missing.
    """
    try:
        counted = _counted(name, address)
        pipe = client().pipeline(transaction=False)
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


def note_success(name: str, address: str) -> None:
    """Note that the right password came: strangers elsewhere do not keep the name from this address."""
    try:
        client().set(_known(name, address), 1, ex=KNOWN_S)
    except redis.exceptions.RedisError as error:
        log.warning("a login is not noted: Redis does not answer (%s)", type(error).__name__)


def _counted(name: str, address: str) -> dict[str, int]:
    """What is counted of this name and address, with the most of each.

    Raises:
        redis.exceptions.RedisError.
    """
    counted = {
        _key("address of name", name, address): MOST_FOR_NAME,
        _key("address", address): MOST_FROM_ADDRESS,
    }
    if not client().exists(_known(name, address)):
        counted[_key("name", name)] = MOST_FOR_NAME_ANYWHERE
    return counted


def _known(name: str, address: str) -> str:
    return f"webpool:login:known:{_digest(name, address)}"


def _key(*parts: str) -> str:
    return f"webpool:login:{_digest(*parts)}"


def _digest(*parts: str) -> str:
    whole = "\0".join(parts).encode("utf-8", "backslashreplace")
    return hashlib.sha256(whole).hexdigest()[:32]
