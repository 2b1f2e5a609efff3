"""Live state for people to look at: rows are worth showing while Redis is down, their live part is not."""

from __future__ import annotations

import redis.exceptions

from browsers.live import LiveBrowser, living


def living_or_unknown() -> dict[str, LiveBrowser] | None:
    """Live state by id; None while Redis does not answer: then nobody knows who lives."""
    try:
        return living()
    except redis.exceptions.RedisError:
        return None
