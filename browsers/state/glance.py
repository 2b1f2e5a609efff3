"""Live state for people to look at: rows are worth showing while Redis is down, their live part is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import redis.exceptions

from browsers.core.breakers import Breakers
from browsers.models import Browser, BrowserState
from browsers.state import breakers
from browsers.state.live import LiveBrowser, living


def living_or_unknown() -> dict[str, LiveBrowser] | None:
    """Live state by id; None while Redis does not answer: then nobody knows who lives."""
    try:
        return living()
    except redis.exceptions.RedisError:
        return None


def breakers_or_unknown(browser_ids: Iterable[str]) -> dict[str, Breakers] | None:
    """Circuit breakers by browser, dead ones included; None while Redis does not answer."""
    try:
        return breakers.read(browser_ids)
    except redis.exceptions.RedisError:
        return None


def shown_state(row: Browser, living: Mapping[str, LiveBrowser] | None) -> str:
    """The state as it may be shown: a row that says `ready` is no news of a worker that is silent."""
    if living is None:
        return "unknown"
    if live := living.get(row.pk):
        return live.state
    return row.state if row.state in (BrowserState.STOPPED, BrowserState.FAILED) else "down"
