"""Circuit breakers shared by all processes (browsers/core/breaker.py decides, this writes down).

Redis keys
    webpool:breakers:<id>   JSON of `Breakers`: the browser's own and those of models in it. Changed under
                            WATCH, so that nobody's change is lost; expires an hour after the last one.
                            A missing key is closed: who loses Redis starts with closed breakers.

They are read together with the live state, in the same round trip (`browsers.state.live.living`). A worker
knows its own from its heartbeat, and writes a success down only where it changes something: work that goes
well costs nothing. They advise; while Redis does not answer nothing is written, and nothing fails for it.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

import redis
import redis.exceptions

from browsers import clock
from browsers.core import breaker as one
from browsers.core.breaker import Breaker
from browsers.core.breakers import Breakers
from browsers.core.failures import Category
from browsers.redis import client

log = logging.getLogger(__name__)
CLOSED = Breakers()
_KEPT_S = 3600


def key_of(browser_id: str) -> str:
    return f"webpool:breakers:{browser_id}"


@functools.lru_cache(maxsize=64)  # asked far more often than changed
def parse(raw: bytes | None) -> Breakers:
    """What a key holds; closed where it holds nothing."""
    return Breakers.from_json(json.loads(raw)) if raw else CLOSED


def read(browser_ids: Iterable[str]) -> dict[str, Breakers]:
    """The breakers of these browsers, in one round trip."""
    ids = list(browser_ids)
    raws = client().mget([key_of(browser_id) for browser_id in ids]) if ids else []
    return {browser_id: parse(raw) for browser_id, raw in zip(ids, raws, strict=True)}


def failed(browser_id: str, category: Category, *, sha256: str = "") -> Breakers:
    """An attempt with that file failed there, or the browser without one; returns what that made."""
    return _change(browser_id, lambda was, now: was.failed(category, now, sha256=sha256))


def crashed(browser_id: str) -> Breakers:
    """The browser's worker died, and the browser with it."""
    return failed(browser_id, Category.BROWSER_CRASH)


def succeeded(browser_id: str, *, sha256: str = "", probe: str = "") -> Breakers:
    """A right answer; `probe` names the owner of the probe that it ends."""
    return _change(browser_id, lambda was, now: was.succeeded(now, sha256=sha256, probe=probe))


def repaired(browser_id: str) -> Breakers:
    """The browser was repaired and answered the known-answer model right, twice."""
    return _change(browser_id, lambda was, now: was.repaired(now))


def begin_probe(browser_id: str, *, owner: str, sha256: str = "") -> bool:
    """Be the one probe of what is half-open there; False when somebody else is."""
    taken = False

    def begin(was: Breakers, now: float) -> Breakers:
        nonlocal taken
        begun = was.begin_probe(now, owner=owner, sha256=sha256)
        taken = begun is not None
        return begun or was

    _change(browser_id, begin)
    return taken


def reset(browser_id: str) -> None:
    """Close every breaker of this browser, as an operator wishes.

    Raises:
        RedisError: they are where they were.
    """
    client().delete(key_of(browser_id))


def describe(breakers: Breakers, now: float) -> dict[str, Any]:
    """For people and programs: the browser's breaker, and those of models that are not spotless."""
    return {
        **_describe(breakers.browser, now),
        "models": [
            {"sha256": sha256, **_describe(it, now)}
            for sha256, it in sorted(breakers.models.items())
        ],
    }


def _describe(breaker: Breaker, now: float) -> dict[str, Any]:
    now_is = one.settled(breaker, now)
    return {
        "state": now_is.state.value,
        "failures": now_is.failures,
        "half_open_at": now_is.half_open_at,
        "cooldown_s": now_is.cooldown_s or None,
        "probing": bool(now_is.probe),
    }


def _change(browser_id: str, decide: Callable[[Breakers, float], Breakers]) -> Breakers:
    """Carry out a decision; what it made, or closed while Redis does not answer."""
    key, now = key_of(browser_id), clock.unix()
    made = CLOSED

    def act(pipe: Any) -> None:
        nonlocal made
        was = parse(pipe.get(key))
        made = decide(was, now)
        pipe.multi()
        if made != was:
            pipe.set(key, json.dumps(made.to_json()), ex=_KEPT_S)

    try:
        client().transaction(act, key)
    except redis.exceptions.RedisError as error:
        log.warning("the breakers of %s could not be changed: %s", browser_id, error)
    return made
