"""Celery tasks of a browser's own worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from celery import shared_task

from browsers.core.failures import Category, Rung

if TYPE_CHECKING:
    from browsers.worker import BrowserWorker


@shared_task
def repair_browser() -> None:
    """Repair after an event that no computation noticed, such as a crash while idle."""
    _do(lambda worker: worker.repair_if_broken(), "repaired")


@shared_task
def probe_browser() -> None:
    """A known answer, between tasks, for a breaker that is half-open."""
    _do(lambda worker: worker.probe(), "repaired")


@shared_task
def check_browser() -> None:
    """A known answer of a loaded file, between tasks."""
    _do(lambda worker: worker.check(), "repaired")


@shared_task
def relieve_browser() -> None:
    """Give memory back between two tasks."""
    _do(lambda worker: worker.relieve(), "repaired")


@shared_task
def restart_browser(why: str) -> None:
    """Restart the browser between two tasks, because an operator wishes it."""
    _do(lambda worker: worker.repair(Category.OPERATOR, why, Rung.RESTART), "restarted")


@shared_task(ignore_result=False)
def climb_ladder(rung: str, why: str) -> None:
    """Repair the browser between two tasks, from that rung on, because somebody asks and waits for it."""
    _do(lambda worker: worker.repair(Category.OPERATOR, why, Rung(rung)), "repaired")


def _do(work: Callable[[BrowserWorker], bool], what: str) -> None:
    """Do it with the browser of this process, which ends when it could not be done."""
    from browsers.worker import end_process, owned  # Selenium: only where there is a browser

    worker = owned()
    with worker.at_work():
        if not work(worker):
            end_process(f"{worker.id} could not be {what}")
