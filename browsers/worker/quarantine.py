"""The last rung: a browser that cannot be started, again and again, is waited for no longer.

Its worker goes on trying, ever less often. The first start that succeeds, known answers included, ends it.
"""

from __future__ import annotations

import logging
from typing import Final

import redis.exceptions
from django.db.models import F

from browsers.core.errors import BrowserError
from browsers.core.failures import Category, Rung
from browsers.models import Browser, DrainKind, Incident
from browsers.state import drains
from browsers.state.live import living

log = logging.getLogger(__name__)
AFTER: Final = 5
"""Failed starts in a row."""


def start_failed(browser_id: str, error: Exception) -> None:
    """Count it; from the `AFTER`th on the browser is in quarantine."""
    category = error.category if isinstance(error, BrowserError) else Category.INTERNAL
    rows = Browser.objects.filter(pk=browser_id)
    rows.update(failed_starts=F("failed_starts") + 1)
    failed = rows.values_list("failed_starts", flat=True).first() or 0
    if failed < AFTER:
        return
    reason = f"{DrainKind.GIVEN_UP.label}: it could not be started {failed} times in a row: {error}"
    if _mark(browser_id, reason[:2000]):
        log.error("%s is quarantined: %s", browser_id, error)
        Incident.objects.create(
            browser_id=browser_id,
            category=category,
            message=reason[:2000],
            rung=Rung.QUARANTINE.value,
            repaired=_others_serve(browser_id),
        )


def started(browser_id: str) -> None:
    """It runs and answers right: what the pool put into quarantine it lets out."""
    rows = Browser.objects.filter(pk=browser_id)
    rows.update(failed_starts=0)
    if rows.filter(drain_kind=DrainKind.GIVEN_UP).exists():
        try:
            drains.clear(browser_id)
        except redis.exceptions.RedisError as error:
            log.warning("%s is released, the sweep tells Redis (%s)", browser_id, error)


def _mark(browser_id: str, reason: str) -> bool:
    try:
        return drains.mark(browser_id, DrainKind.GIVEN_UP, reason=reason)
    except redis.exceptions.RedisError as error:  # the row is marked, the sweep repeats it
        log.warning("%s: %s", browser_id, error)
        return True


def _others_serve(browser_id: str) -> bool | None:
    """Whether the work goes on without it; None: Redis does not answer."""
    try:
        return any(b.state == "ready" for b in living().values() if b.id != browser_id)
    except redis.exceptions.RedisError:
        return None
