"""The one browser that this process owns."""

from __future__ import annotations

import logging
import os
from typing import NoReturn

from celery.exceptions import WorkerShutdown

from browsers.worker.worker import BrowserWorker, Hooks

log = logging.getLogger(__name__)
_owned: BrowserWorker | None = None


def own(browser_id: str, kind: str, hooks: Hooks) -> BrowserWorker:
    """Make this process the owner of the browser and start it."""
    global _owned
    _owned = BrowserWorker(browser_id, kind, hooks)
    _owned.start()
    return _owned


def owned() -> BrowserWorker:
    """The browser this process owns.

    Raises:
        RuntimeError: this is not a browser worker.
    """
    if _owned is None:
        raise RuntimeError("this process owns no browser: start it with WEBPOOL_BROWSER set")
    return _owned


def end_process(why: str) -> NoReturn:
    """End this worker in good order from inside a task; its supervisor starts another.

    Celery takes a plain SystemExit for a task that failed.
    """
    log.critical("%s: this worker ends", why)
    raise WorkerShutdown(os.EX_SOFTWARE)
