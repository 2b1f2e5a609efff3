"""What recovery did and does, for Python callers: the same services as every other door.

with ResourcePoolBridgeIntegrationWithRecovery() as pool:
    recovery = ResourcePoolErrorRecovery(pool)
    recovery.incidents("firefox", limit=10)
    recovery.repair("firefox", rung="restart")
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from browsers import clock
from inference.client import calls
from inference.documents import JsonObject
from inference.errors import InvalidRequest, Unavailable

if TYPE_CHECKING:
    from inference.client.bridge import ResourcePoolBridgeIntegrationWithRecovery
    from inference.store.audit import Said

_REPAIRED_WITHIN_S = 240.0
# Sent by name: a script needs nothing of what drives a browser.
_CLIMB = "browsers.tasks.climb_ladder"


class ResourcePoolErrorRecovery:
    """The recovery of the pool that `pool` has joined or started. Its methods block."""

    def __init__(self, pool: ResourcePoolBridgeIntegrationWithRecovery) -> None:
        self._pool = pool

    def incidents(self, browser: str | None = None, *, limit: int = 100) -> list[JsonObject]:
        """What went wrong and what was done, latest first; `browser` None: of all.

        Returns:
            per incident browser, at, category, message, rung, repaired, duration_ms and reclaimed_mb; None
            is not known.

        Raises:
            UnknownBrowser: no browser has that id.
        """
        self._pool.check_open()
        return calls.in_thread(lambda: _incidents(browser, limit))

    def rung_statistics(self) -> list[JsonObject]:
        """Attempts, successes and durations per rung of the ladder, browser family and error category."""
        self._pool.check_open()
        from browsers.rungs import rung_statistics

        return calls.in_thread(rung_statistics)

    def breakers(self) -> JsonObject:
        """Circuit breakers by browser, as `/api/browsers/` shows them; each None while Redis is away."""
        self._pool.check_open()
        return calls.in_thread(_breakers)

    def reset(self, browser: str) -> None:
        """Close the breakers of a browser: its own, and those of models in it.

        Raises:
            UnknownBrowser; Unavailable: Redis does not answer, and they are as before.
        """
        self._pool.check_open()
        calls.in_thread(lambda: _reset(browser))

    def repair(self, browser: str, *, rung: str = "ping") -> JsonObject:
        """Make the browser climb the ladder from `rung` on, between two of its tasks; waits for the end.

        Returns:
            {"browser", "repaired", "incidents"}: the rungs that were tried, the last first.

        Raises:
            UnknownBrowser; InvalidRequest: no such rung, or one that is not a repair.
            Unavailable: it did not come to an end in time, as when no worker is there.
        """
        self._pool.check_open()
        return calls.in_thread(lambda: _repair(browser, rung))

    def quarantine(self, browser: str) -> int:
        """Trust it no longer, until `release`; what it has goes to others. Returns how many shards that was.

        Raises:
            UnknownBrowser.
        """
        self._pool.check_open()
        from inference.client.requests import OWNER
        from inference.ledger.operations import quarantine

        def quarantined() -> int:
            with _acting("quarantine", browser):
                return quarantine(browser, by=OWNER)

        return calls.in_thread(quarantined)

    def release(self, browser: str) -> bool:
        """Let a quarantined or drained browser take work again; False when it was neither."""
        self._pool.check_open()
        from inference.ledger.operations import release

        def released() -> bool:
            with _acting("release", browser):
                return release(browser)

        return calls.in_thread(released)


def _acting(action: str, browser: str) -> AbstractContextManager[Said]:
    from inference.models import Entrance
    from inference.store import audit

    return audit.acting(Entrance.PYTHON, audit.machine_user(), action, f"browser {browser}")


def _incidents(browser: str | None, limit: int, *, after: int = 0) -> list[JsonObject]:
    from browsers.models import Incident

    rows = Incident.objects.filter(pk__gt=after)
    if browser is not None:
        from inference.scheduling.pool_view import get_browser

        get_browser(browser)
        rows = rows.filter(browser=browser)
    return [
        {
            "browser": row.browser_id,
            "at": row.at,
            "category": row.category,
            "message": row.message,
            "rung": row.rung or None,
            "repaired": row.repaired,
            "duration_ms": row.duration_ms,
            "reclaimed_mb": row.reclaimed_mb,
        }
        for row in rows.order_by("-pk")[:limit]
    ]


def _breakers() -> JsonObject:
    from browsers.models import Browser
    from browsers.state import breakers
    from browsers.state.glance import breakers_or_unknown

    ids = list(Browser.objects.values_list("pk", flat=True))
    known, now = breakers_or_unknown(ids), clock.unix()
    return {name: breakers.describe(known[name], now) if known else None for name in ids}


def _reset(browser: str) -> None:
    import redis.exceptions

    from browsers.state import breakers
    from inference.scheduling.pool_view import get_browser

    get_browser(browser)
    try:
        with _acting("reset breakers", browser):
            breakers.reset(browser)
    except redis.exceptions.RedisError as error:
        raise Unavailable(f"Redis does not answer ({error}); the breakers are as before") from error


def _repair(browser: str, rung: str) -> JsonObject:
    from celery import current_app
    from celery.exceptions import TimeoutError as CeleryTimeout

    from browsers.core.repair import LADDER
    from browsers.models import Incident
    from browsers.queues import queue_of
    from inference.client.requests import OWNER
    from inference.scheduling.pool_view import get_browser

    get_browser(browser)
    repairs = [one.value for one in LADDER]
    if rung not in repairs:
        raise InvalidRequest(f"rung {rung!r}: expected one of {', '.join(repairs)}")
    last = Incident.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    with _acting("repair", browser) as said:
        asked = current_app.send_task(
            _CLIMB,
            (rung, f"asked for by {OWNER}, from {rung} on"),
            queue=queue_of(browser),
            expires=_REPAIRED_WITHIN_S,
        )
        try:
            asked.get(timeout=_REPAIRED_WITHIN_S)
        except CeleryTimeout as error:
            raise Unavailable(
                f"{browser} was not repaired within {_REPAIRED_WITHIN_S:g} s; is its worker there?"
            ) from error
        tried = _incidents(browser, limit=100, after=last)
        repaired = any(one["repaired"] for one in tried)
        said.detail = f"from {rung} on: {'repaired' if repaired else 'not repaired'}"
    return {"browser": browser, "repaired": repaired, "incidents": tried}
