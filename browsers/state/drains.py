"""Browsers that are drained: they finish what they have and take nothing new.

The row says so (`drained_at`) and survives everything; Redis repeats it where placement looks.
"""

from __future__ import annotations

from django.db.models import Q
from django.utils import timezone

from browsers.models import Browser
from browsers.state import live

BY_THE_POOL = "the pool shrinks"
"""How the reason of a drain begins that no person asked for; it ends with the pool that asked."""
QUARANTINED = "quarantined"
"""How the reason begins when the browser is not trusted, nor expected back."""
QUARANTINED_BY_THE_POOL = f"{QUARANTINED} by the pool"
"""Likewise, of one that could not be started; it ends with the first start that succeeds."""


def mark(browser_id: str, *, reason: str) -> bool:
    """From now on the browser takes nothing new; False when it was drained already."""
    marked = Browser.objects.filter(pk=browser_id, drained_at=None).update(
        drained_at=timezone.now(), drain_reason=reason
    )
    publish()
    return bool(marked)


def clear(browser_id: str) -> bool:
    """The browser takes work again; False when it was not drained."""
    cleared = Browser.objects.filter(pk=browser_id, drained_at__isnull=False).update(
        drained_at=None, drain_reason=""
    )
    publish()
    return bool(cleared)


def forget_the_pools() -> None:
    """A pool that was about to shrink, or gave a browser up, is gone: its successor runs what is listed."""
    Browser.objects.filter(
        Q(drain_reason__startswith=BY_THE_POOL)
        | Q(drain_reason__startswith=QUARANTINED_BY_THE_POOL)
    ).update(drained_at=None, drain_reason="")


def publish() -> None:
    """Repeat in Redis what the rows say; it may have lost its data."""
    live.set_drained(
        Browser.objects.filter(drained_at__isnull=False).order_by().values_list("pk", flat=True)
    )
