"""What a worker's threads ask of its main thread, which alone talks to the browser: its own tasks."""

from __future__ import annotations

from celery import current_app

from browsers.queues import queue_of

_EXPIRES_S = 60.0  # what has waited for longer is asked for again


class OwnTasks:
    """Sends by name: who sends needs nothing of what the tasks need.

    Each raises what Celery raises where the broker does not answer.
    """

    def __init__(self, browser_id: str) -> None:
        self._queue = queue_of(browser_id)

    def repair(self) -> None:
        self._send("repair_browser", None)

    def probe(self) -> None:
        """Answer the known-answer model."""
        self._send("probe_browser", None)

    def relieve(self) -> None:
        """Give memory back."""
        self._send("relieve_browser", _EXPIRES_S)

    def check(self) -> None:
        """Load what was lost, try a backend, or ask a file for its known answer."""
        self._send("check_browser", _EXPIRES_S)

    def _send(self, task: str, expires_s: float | None) -> None:
        current_app.send_task(f"browsers.tasks.{task}", queue=self._queue, expires=expires_s)
