"""Drain a browser: it takes no new shards, what waits for it moves, and it finishes what it has."""

from __future__ import annotations

import dataclasses

from browsers.models import DrainKind
from browsers.state import drains
from browsers.state.live import living
from inference.core.lifecycle import UNDER_WAY
from inference.ledger import redispatch, sweep
from inference.models import RunStep
from inference.scheduling.pool_view import get_browser, snapshot


@dataclasses.dataclass(frozen=True)
class Draining:
    """How far a browser is drained.

    Attributes:
        browser: its id.
        moved: shards that waited for it and went to others just now.
        left: shards that it still computes, or that no other browser may take.
        others: how many browsers of the pool still take shards.
    """

    browser: str
    moved: int
    left: int
    others: int


def drain(browser_id: str, *, reason: str, kind: DrainKind = DrainKind.ASKED) -> Draining:
    """From now on nothing new is placed on the browser; idempotent, it lasts until `undrain`.

    Raises:
        UnknownBrowser.
        RedisError: Redis does not answer; the row is marked all the same.
    """
    get_browser(browser_id)
    drains.mark(browser_id, kind, reason=reason)
    moved = _move_queued(browser_id)
    others = sum(browser.state == "ready" for browser in living().values())
    return Draining(browser_id, moved=moved, left=left(browser_id), others=others)


def undrain(browser_id: str) -> bool:
    """Let the browser take shards again; False when it was not drained.

    Raises:
        UnknownBrowser.
        RedisError: Redis does not answer; the row is cleared all the same.
    """
    get_browser(browser_id)
    cleared = drains.clear(browser_id)
    if cleared:
        sweep.place_waiting()
    return cleared


def left(browser_id: str) -> int:
    """Shards that the browser holds, queued or running: 0 means that nothing is cut off by its end."""
    return RunStep.objects.outstanding(*UNDER_WAY).filter(browser=browser_id).count()


def _move_queued(browser_id: str) -> int:
    """What no other browser may take stays: the drained one still computes it."""
    pool = snapshot()
    return sum(
        redispatch.redispatch(shard)
        for shard in redispatch.queued_on(browser_id)
        if redispatch.why_waiting(shard, pool) is None
    )
