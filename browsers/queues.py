"""The queues of the pool: one for each browser, one for the control worker, one for history."""

from __future__ import annotations

CONTROL_QUEUE = "control"
HISTORY_QUEUE = "history"


def queue_of(browser_id: str) -> str:
    """The queue that only the worker of that browser reads."""
    return f"browser.{browser_id}"
