"""Celery tasks of a browser's own worker."""

from __future__ import annotations

from celery import shared_task

from browsers.core.errors import Rung
from browsers.worker import end_process, owned


@shared_task
def repair_browser() -> None:
    """Repair after an event that no computation noticed, such as a crash while idle."""
    worker = owned()
    with worker.at_work():
        if not worker.repair_if_broken():
            end_process(f"{worker.id} could not be repaired")


@shared_task
def probe_browser() -> None:
    """A known answer, between tasks, for a breaker that is half-open."""
    worker = owned()
    with worker.at_work():
        if not worker.probe():
            end_process(f"{worker.id} could not be repaired")


@shared_task
def restart_browser(why: str) -> None:
    """Restart the browser between two tasks, because an operator wishes it."""
    worker = owned()
    with worker.at_work():
        if not worker.repair("operator", why, Rung.RESTART):
            end_process(f"{worker.id} could not be restarted")


@shared_task(ignore_result=False)
def climb_ladder(rung: str, why: str) -> None:
    """Repair the browser between two tasks, from that rung on, because somebody asks and waits for it."""
    worker = owned()
    with worker.at_work():
        if not worker.repair("operator", why, Rung(rung)):
            end_process(f"{worker.id} could not be repaired")
