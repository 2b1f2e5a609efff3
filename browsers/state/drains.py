"""Browsers that are drained: they finish what they have and take nothing new.

The row says so (`drained_at`) and survives everything; Redis repeats it where placement looks.
"""

from __future__ import annotations

from django.db import connection

from browsers import clock
from browsers.models import Browser, DrainKind
from browsers.state import live


def mark(browser_id: str, kind: DrainKind, *, reason: str) -> bool:
    """From now on the browser takes nothing new; False when it was drained already."""
    marked = Browser.objects.filter(pk=browser_id, drained_at=None).update(
        drained_at=clock.now(), drain_kind=kind, drain_reason=reason
    )
    publish()
    return bool(marked)


def clear(browser_id: str) -> bool:
    """The browser takes work again; False when it was not drained."""
    cleared = Browser.objects.filter(pk=browser_id, drained_at__isnull=False).update(**_NOT_DRAINED)
    publish()
    return bool(cleared)


def forget_the_pools() -> None:
    """A pool that was about to shrink, or gave a browser up, is gone: its successor runs what is listed."""
    kinds = [DrainKind.SHRINKING, DrainKind.GIVEN_UP]
    Browser.objects.filter(drain_kind__in=kinds).update(**_NOT_DRAINED)


_NOT_DRAINED = {"drained_at": None, "drain_kind": DrainKind.NONE, "drain_reason": ""}


def publish() -> None:
    """Repeat in Redis what the rows say; it may have lost its data.

    Done every second: to build the statement by the ORM would cost more than it does.
    """
    with connection.cursor() as cursor:
        cursor.execute(_WHO_IS_HELD_BACK)
        live.hold_back(
            {
                browser_id: live.QUARANTINED if kind in _NOT_TRUSTED else live.DRAINING
                for browser_id, kind in cursor.fetchall()
            }
        )


_NOT_TRUSTED = (DrainKind.QUARANTINED, DrainKind.GIVEN_UP)
_WHO_IS_HELD_BACK = "SELECT id, drain_kind FROM browsers_browser WHERE drained_at IS NOT NULL"
