"""What an operator does to one browser: restart it, keep work away from it, let it work again."""

from __future__ import annotations

from celery import current_app

from browsers.models import DrainKind
from browsers.queues import queue_of
from browsers.state import breakers, drains
from inference.ledger import draining, results
from inference.scheduling.pool_view import get_browser

# Sent by name: whoever asks for a restart needs nothing of what drives a browser.
RESTART_BROWSER = "browsers.tasks.restart_browser"


def restart(browser_id: str, *, by: str) -> None:
    """Restart the browser after what it computes now; its worker does it, and writes an incident.

    Raises:
        UnknownBrowser.
        OperationalError: the broker does not answer.
    """
    get_browser(browser_id)
    current_app.send_task(
        RESTART_BROWSER,
        (f"restart asked for by {by}",),
        queue=queue_of(browser_id),
        ignore_result=True,
    )


def quarantine(browser_id: str, *, by: str) -> int:
    """Trust the browser no longer, until `release`: nothing new, and what it has goes to others at once.

    What it still computes meets a higher fence and is not taken; the row, which is written first, keeps it
    from claiming more. Returns how many shards were taken from it.

    Raises:
        UnknownBrowser.
        RedisError: Redis does not answer; the row is marked all the same.
    """
    get_browser(browser_id)
    drains.clear(browser_id)
    drains.mark(browser_id, DrainKind.QUARANTINED, reason=f"quarantined by {by}")
    return results.owner_died(browser_id, f"{browser_id} was quarantined by {by}")


def release(browser_id: str) -> bool:
    """Let a drained or quarantined browser take work again; False when it was neither."""
    return draining.undrain(browser_id)


def reset_breakers(browser_id: str) -> None:
    """Close the browser's breakers, its own and those of models in it.

    Raises:
        UnknownBrowser.
        RedisError: they are as before.
    """
    get_browser(browser_id)
    breakers.reset(browser_id)
