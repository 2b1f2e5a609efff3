"""What the apps tell one another: `browsers` and `history` know nobody, so the site connects them.

A process's part is named by its environment: WEBPOOL_BROWSER for a browser's worker, WEBPOOL_ROLE=control
for the control worker, WEBPOOL_ROLE=history for the one that writes history. It is looked up when a Celery
worker begins: the process may have been forked from one that played no part.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from celery.signals import worker_init, worker_ready, worker_shutdown

from history import announcing, vocabulary

if TYPE_CHECKING:
    from browsers.core.answers.known import Known
    from browsers.session import LoadEvent
    from browsers.worker import BrowserWorker
    from history.models import Regression

log = logging.getLogger(__name__)
_stop_sweep = threading.Event()


def connect() -> None:
    """Connect the apps' questions to their answers, and Celery's life-cycle to this process' part."""
    vocabulary.use(kinds=_kinds, available=_kinds_here, blame=_blame)
    announcing.regression_changed.connect(_regressed)
    worker_init.connect(_begin, weak=False)


def _begin(**_: Any) -> None:
    if os.environ.get("WEBPOOL_BROWSER"):
        worker_shutdown.connect(_stop_browser, weak=False)
        _start_browser()
    elif os.environ.get("WEBPOOL_ROLE") == "control":
        worker_ready.connect(_start_sweep, weak=False)
        worker_shutdown.connect(lambda **_: _stop_sweep.set(), weak=False)
    elif os.environ.get("WEBPOOL_ROLE") == "history":
        worker_shutdown.connect(_complete_history, weak=False)


def _kinds() -> tuple[str, ...]:
    from browsers.drivers import ALL_KINDS

    return ALL_KINDS


def _kinds_here() -> tuple[str, ...]:
    from browsers.models import Browser, BrowserState

    rows = Browser.objects.exclude(state=BrowserState.STOPPED)
    return tuple(sorted(set(rows.values_list("kind", flat=True))))


def _blame(error_type: str) -> str | None:
    """What a failure counts against, in the words of history."""
    from browsers.core.failures import Blame, Category

    try:
        blame = Category.of(error_type).blame
    except ValueError:
        return None
    return str(Blame.BROWSER if blame == Blame.CRASH else blame)


def _regressed(regression: Regression, **_: Any) -> None:
    """History found a slower build: an incident of a browser of its kind, the slower build's first."""
    from browsers.core.failures import Category
    from browsers.models import Browser, Incident

    rows = Browser.objects.filter(kind=regression.browser)
    browser = rows.filter(version=regression.to_build).first() or rows.first()
    if regression.closed_at is None and browser is not None:
        Incident.objects.create(
            browser=browser,
            category=Category.REGRESSION,
            message=f"{regression.model_name}: {regression.platform} takes {regression.change_ratio:.2f} "
            f"times as long in {regression.to_build} as in {regression.from_build}",
            page=f"/admin/history/regression/{regression.pk}/change/",
        )


def _start_browser() -> None:
    from browsers import worker

    browser_id = os.environ["WEBPOOL_BROWSER"]
    hooks = worker.Hooks(
        restarted=_restarted,
        ready=_ready,
        broken=_broken,
        hand_over=_hand_over,
        known=_known,
        loaded=_loaded,
    )
    try:
        worker.own(browser_id, os.environ["WEBPOOL_BROWSER_KIND"], hooks)
    except Exception as error:  # Celery would log it and serve the queue without a browser
        raise SystemExit(f"{browser_id} could not start: {error}") from error


def _stop_browser(**_: Any) -> None:
    from browsers import worker

    worker.owned().close()


def _restarted(browser_id: str) -> None:
    from inference.ledger import results

    results.owner_died(browser_id, f"the worker of {browser_id} was restarted")


def _ready(browser_id: str) -> None:
    from inference.ledger import sweep

    sweep.place_waiting()


def _broken(browser_id: str) -> None:
    from inference.ledger import redispatch

    redispatch.move_queued(browser_id)


def _loaded(worker: BrowserWorker, event: LoadEvent) -> None:
    from inference.worker import loads

    loads.record_load(worker, event)


def _known(sha256: str) -> Known:
    from inference.catalog import known_answers

    return known_answers.known(sha256)


def _hand_over(browser_id: str, files: Collection[str]) -> int:
    from inference.scheduling import standbys

    return standbys.hand_over(browser_id, files)


def _complete_history(**_: Any) -> None:
    """What the pool has computed is answered for when it is stopped, not when it runs again."""
    from inference import tasks

    try:
        tasks.complete_history()
    except Exception:  # it is complete after the next start
        log.exception("history was not completed")


def _start_sweep(**_: Any) -> None:
    from django.conf import settings

    from inference.batches.feeder import feed_forever
    from inference.comparisons import feeder as comparisons
    from inference.generation import watch as generation_watch
    from inference.ledger import lease_watch, sweep
    from inference.scheduling import standbys
    from webpool_site.children import readiness

    sweep.restart_joins()
    loops: dict[str, Callable[[], None]] = {
        "sweep": lambda: sweep.run_forever(
            _stop_sweep, settings.WEBPOOL_SWEEP_S, readiness.show_life
        ),
        "leases": lambda: lease_watch.watch_forever(_stop_sweep),
        "standbys": lambda: standbys.keep_forever(_stop_sweep),
        "sessions": lambda: generation_watch.watch_forever(_stop_sweep),
        "batches": lambda: feed_forever(_stop_sweep, settings.WEBPOOL_SWEEP_S),
        "comparisons": lambda: comparisons.feed_forever(_stop_sweep, settings.WEBPOOL_SWEEP_S),
    }
    for name, loop in loops.items():
        threading.Thread(target=loop, name=name, daemon=True).start()
