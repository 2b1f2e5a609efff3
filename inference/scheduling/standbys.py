"""Warm standbys: what is computed somewhere is loaded in one more browser, which can go on at once.

Every few seconds the control worker looks which files in use too few browsers hold, and has at most one
loaded in each idle browser that has room beside what it holds. Nothing is unloaded for it, nothing waits for
it, and none is loaded while the machine is short of memory. A browser that is given up hands what it held
to others in the same way.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence

import redis.exceptions
from celery import current_app
from django.conf import settings
from django.db import DatabaseError
from kombu.exceptions import KombuError

from browsers import clock
from browsers.queues import queue_of
from browsers.state.live import LiveBrowser, living
from inference.core.placement import BrowserView, NoBrowser, ShardView, Wishes, candidates
from inference.core.standbys import Held, Holder, missing
from inference.models import OnnxModel, PlanStep
from inference.scheduling import advice
from inference.scheduling.pool_view import outstanding, snapshot, stages_held

log = logging.getLogger(__name__)
LOAD_SHARD = "inference.tasks.load_shard"
_EVERY_S = 3.0
_EXPIRES_S = 30.0
_AGAIN_AFTER_S = (60.0, 3600.0)


class Standbys:
    """What was asked for and when, so that a browser that cannot load a file is not asked for ever."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, str], tuple[float, float]] = {}

    def keep(self, now: float) -> list[tuple[str, str]]:
        """Have missing standbys loaded, one at most in each browser; returns file and browser of each."""
        live = living()
        waiting = Counter(outstanding()) + stages_held()
        pool = {b.id: holder(b, waiting.get(b.id, 0)) for b in live.values()}
        self._forget_loaded(pool)
        sent: list[tuple[str, str]] = []
        wanted = missing(pool, settings.WEBPOOL_STANDBYS)
        views = snapshot() if wanted else []
        for file, able in wanted.items():
            taken = {browser for _, browser in sent}
            free = [b for b in able if b not in taken and self._may_ask(file, b, now)]
            best = _best(file, free, views)
            if best is not None:
                _load(file, best)
                self._note(file, best, now)
                sent.append((file, best))
        return sent

    def _may_ask(self, file: str, browser: str, now: float) -> bool:
        asked_at, pause = self._asked.get((file, browser), (float("-inf"), 0.0))
        return now - asked_at >= pause

    def _note(self, file: str, browser: str, now: float) -> None:
        shortest, longest = _AGAIN_AFTER_S
        _, pause = self._asked.get((file, browser), (0.0, shortest / 2))
        self._asked[file, browser] = now, min(longest, pause * 2)

    def _forget_loaded(self, pool: dict[str, Holder]) -> None:
        for file, browser in list(self._asked):
            if browser in pool and file in pool[browser].files:
                del self._asked[file, browser]


def holder(browser: LiveBrowser, waiting: int) -> Holder:
    """A browser of the pool as standbys see it; `waiting`: shards and texts' stages that wait or run."""
    closed = browser.breakers.state(clock.unix()).value == "closed"
    return Holder(
        id=browser.id,
        trusted=browser.state == "ready" and closed,
        roomy=not browser.short_of_memory,
        loads_ahead=bool(browser.backends) and browser.backends[0].name != "webnn",
        idle=not waiting and browser.idle_since is not None,
        limit_mb=browser.memory_limit_mb,
        files={
            sha256: Held(model.bytes, model.backend, model.compute_ms is not None)
            for sha256, model in browser.loaded.items()
        },
    )


def hand_over(browser_id: str, files: Collection[str]) -> int:
    """Have what a browser held loaded where placement, and with it history, would compute it now.

    Returns how many files others hold already or were asked to load.
    """
    pool = [browser for browser in snapshot() if browser.id != browser_id]
    taken = 0
    for file in files:
        ready = [browser for browser in pool if browser.state == "ready"]
        if any(file in browser.loaded for browser in ready):
            taken += 1
            continue
        roomy = [browser.id for browser in ready if not browser.short_of_memory]
        best = _best(file, roomy, ready)
        if best is not None:
            _load(file, best)
            taken += 1
    return taken


def keep_forever(stop: threading.Event) -> None:
    """The control worker's thread; nothing when there are to be no standbys."""
    kept = Standbys()
    while settings.WEBPOOL_STANDBYS and not stop.wait(_EVERY_S):
        try:
            for file, browser in kept.keep(time.monotonic()):
                log.info("%s loads %s… as a standby", browser, file[:12])
        except (redis.exceptions.RedisError, DatabaseError, KombuError, OSError) as error:
            log.warning("standbys could not be looked after: %s", error)
        except Exception:
            log.exception("standbys")


def _load(file: str, browser: str) -> None:
    current_app.send_task(
        LOAD_SHARD,
        (file, ""),
        queue=queue_of(browser),
        expires=_EXPIRES_S,
        ignore_result=True,
        declare=[],
    )


def _best(file: str, able: Sequence[str], pool: Sequence[BrowserView]) -> str | None:
    """The one of those browsers that placement would take first."""
    found = _work(file) if able else None
    if found is None:
        return None
    shard, advise = found
    views = [view for view in pool if view.id in able]
    try:
        return candidates(shard, views, advise(), avoid={}, refused={}, used={})[0].browser
    except NoBrowser:
        return None


@functools.lru_cache(maxsize=1024)
def _work(file: str) -> tuple[ShardView, Callable[[], Wishes]] | None:
    """A file as placement sees it, and what history knows of its work; None: no model names it any more."""
    step = PlanStep.objects.filter(sha256=file).select_related("plan__model").first()
    model = step.plan.model if step else OnnxModel.objects.filter(sha256=file).first()
    if model is None:
        return None
    weight_bytes = step.weight_bytes if step else model.weight_bytes
    work_type = step.work_type if step else ""
    return (
        ShardView(0, file, weight_bytes),
        lambda: advice.advise(Wishes(), model, None, work_type),
    )
