"""How the pool is now, in one look."""

from __future__ import annotations

from browsers import clock
from browsers.models import Browser, BrowserState
from browsers.state import breakers
from browsers.state.glance import breakers_or_unknown, living_or_unknown
from browsers.state.live import LiveBrowser
from inference.documents import JsonObject


def health() -> JsonObject:
    """The pool's state, and each browser's.

    `status` is "healthy" when every browser that is wanted is ready, "degraded" when some are not, and
    "unavailable" when none is, or Redis does not answer. What is not known is None.
    """
    live = living_or_unknown()
    rows = list(Browser.objects.exclude(state=BrowserState.STOPPED))
    known, now = breakers_or_unknown([row.id for row in rows]), clock.unix()
    state = {name: breakers.describe(it, now)["state"] for name, it in (known or {}).items()}
    described = {row.id: _browser(row, (live or {}).get(row.id), state.get(row.id)) for row in rows}
    ready = sum(item["state"] == "ready" for item in described.values())
    whole = ready == len(described)
    status = "unavailable" if not ready else "healthy" if whole else "degraded"
    return {
        "status": status,
        "redis": live is not None,
        "ready_browsers": ready if live is not None else None,
        "browsers": described,
    }


def _browser(row: Browser, live: LiveBrowser | None, breaker: str | None) -> JsonObject:
    return {
        "family": row.family,
        "version": row.version or None,
        # A row outlives its worker: only who publishes itself can be ready.
        "state": live.state if live else ("unknown" if row.state == "ready" else row.state),
        "reason": row.reason or None,
        "heartbeat_age_s": clock.unix() - live.heartbeat if live else None,
        "memory_mb": live.memory_mb if live else None,
        "memory_limit_mb": row.memory_limit_mb,
        "loaded_models": len(live.loaded) if live else None,
        "repairs": row.repairs,
        "breaker": breaker,
    }
