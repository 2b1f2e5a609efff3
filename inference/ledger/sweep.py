"""Once a second: find what no event told us of, and set it going again.

0. Who is drained is repeated in Redis, which may have lost its data.
1. Runs past their deadline fail with that reason, before any of their work is sent again.
2. Shards held by a browser whose lease is gone are taken from it, and so are shards that its worker
   claimed but no longer computes (their result could not be written down).
3. Ready shards without a browser are placed.
4. Where messages are lost, queued shards are sent again.
5. What waits long for a busy browser goes to one that has nothing to do.
6. Joins whose message is lost, or whose worker is gone, are sent again.
7. A run of which a result did not bring about what follows, goes on.
8. After a start or an outage, runs that ended meanwhile are signalled again: they may be unheard.

Where nothing is under way, as most of the time, one statement says so, and 1 to 7 are left out. One step's
failure does not keep the others from their work.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import redis.exceptions
from django.conf import settings
from django.db import DatabaseError
from django.db.models import QuerySet

from browsers import clock
from browsers.core.failures import Category
from browsers.queues import CONTROL_QUEUE, queue_of
from browsers.redis import client
from browsers.state import drains, live
from browsers.state.live import LiveBrowser, living
from inference.ledger import claims, deadlines, endings, open_work, redispatch, results, stealing
from inference.models import Run, RunState, RunStep, StepKind, StepState
from inference.store.under_way import under_way

log = logging.getLogger(__name__)
LOST_MESSAGE_AFTER = timedelta(seconds=2)
_LONG_JOIN = timedelta(seconds=10)  # times the attempts: then its worker is taken for dead
_AT_MOST = 256  # shards a step moves in one pass, so that the others have their turn


def sweep(now: datetime) -> bool:
    """One pass; safe to run in several processes at once. Whether every step could do its work."""
    complete = _try((_repeat_drains,), now)
    try:
        at_rest = not under_way().runs
    except DatabaseError:
        at_rest = False  # each step says what it could not do
    return complete if at_rest else _try(_OF_WORK, now) and complete


def _try(steps: Sequence[Callable[[datetime], None]], now: datetime) -> bool:
    complete = True
    for step in steps:
        try:
            step(now)
        except (redis.exceptions.RedisError, DatabaseError, OSError) as error:
            log.warning("%s: %s; trying again at the next pass", step.__name__, error)
            complete = False
        except Exception:
            log.exception("%s", step.__name__)
            complete = False
    return complete


def _steps(kind: StepKind, state: StepState) -> QuerySet[RunStep]:
    steps = RunStep.objects.outstanding(state).filter(kind=kind)
    related = steps.select_related("run", "plan_step", "run__plan", "run__model")
    return related.defer("run__model__summary")


def _shards(state: StepState) -> QuerySet[RunStep]:
    return _steps(StepKind.COMPUTE, state)


def _joins(state: StepState) -> QuerySet[RunStep]:
    return _steps(StepKind.JOIN, state)


def _repeat_drains(_now: datetime) -> None:
    drains.publish()
    live.note_answer()


def _take_from_the_dead(now: datetime) -> None:
    under_way = (StepState.QUEUED, StepState.RUNNING)
    held = open_work.open_steps(StepKind.COMPUTE, under_way, queued_before=now)
    computing = {steps.browser for steps in held if steps.state == StepState.RUNNING}
    alive = living() if held else {}
    leases_count = live.leases_count()  # asked after it: a pause may have been in between
    for browser_id in sorted({steps.browser for steps in held}):
        if browser_id in alive and browser_id in computing:
            _take_abandoned(alive[browser_id])
        elif browser_id not in alive and leases_count:
            lease_ended(browser_id)


def lease_ended(browser_id: str) -> None:
    """Its worker is dead or stands still, which is not known: so no crash, but its work moves."""
    reason = f"the worker of {browser_id} stopped renewing its lease"
    results.owner_died(browser_id, reason, category=Category.TIMEOUT)


def _take_abandoned(browser: LiveBrowser) -> None:
    """A worker is done with everything it claimed before it last became idle."""
    if browser.idle_since is None:
        return
    idle_since = datetime.fromtimestamp(browser.idle_since, UTC)
    left = _shards(StepState.RUNNING).filter(browser=browser.id, claimed_at__lt=idle_since)
    for shard in left:
        results.lose(
            shard, Category.INTERNAL, f"{browser.id} computed it, but could not write it down"
        )


def _place_waiting(now: datetime) -> None:
    waiting = open_work.open_steps(StepKind.COMPUTE, (StepState.READY,), queued_before=now)
    if waiting and any(browser.state == "ready" for browser in living().values()):
        place_waiting()


def place_waiting() -> int:
    """Try again to place every shard that found no browser; returns how many were sent."""
    waiting = _shards(StepState.READY).filter(run__state=RunState.RUNNING)
    return sum(redispatch.redispatch(shard) for shard in waiting.order_by("ready_at")[:_AT_MOST])


def _send_lost_messages(now: datetime) -> None:
    """Messages are missing where fewer are in a browser's queue than shards are queued for it.

    Any of them brings the browser the shard whose turn it is, so it is the last in line that has none. A
    worker that computes may hold one more in its hands.
    """
    before = now - LOST_MESSAGE_AFTER
    queued = open_work.open_steps(StepKind.COMPUTE, (StepState.QUEUED,), queued_before=before)
    if not any(steps.overdue for steps in queued):
        return
    overdue = _shards(StepState.QUEUED).filter(queued_at__lt=before)
    waiting = Counter(overdue.order_by().values_list("browser", flat=True))
    running = RunStep.objects.outstanding(StepState.RUNNING).filter(browser__in=waiting)
    at_work = set(running.order_by().values_list("browser", flat=True))
    for browser_id, count in waiting.items():
        held = client().llen(queue_of(browser_id)) + (browser_id in at_work)
        last = overdue.filter(browser=browser_id).order_by("-queued_at", "-pk")
        for shard in last[: min(max(count - held, 0), _AT_MOST)]:
            _send_again(shard)


def _send_again(shard: RunStep) -> None:
    log.warning("shard %s: its message to %s was lost, sending again", shard, shard.browser)
    redispatch.redispatch(shard)


def _join_again(now: datetime) -> None:
    under_way = (StepState.QUEUED, StepState.RUNNING)
    if not open_work.open_steps(StepKind.JOIN, under_way, queued_before=now):
        return
    waiting = _joins(StepState.QUEUED).filter(queued_at__lt=now - LOST_MESSAGE_AFTER)
    if not client().llen(CONTROL_QUEUE):
        for join in waiting[:_AT_MOST]:
            redispatch.join_again(join)
    for join in _joins(StepState.RUNNING)[:_AT_MOST]:
        if join.claimed_at and join.claimed_at + join.attempts * _LONG_JOIN < now:
            redispatch.join_again(join)


def _go_on(now: datetime) -> None:
    if not open_work.runs_are_older_than(now - LOST_MESSAGE_AFTER):
        return
    for run in claims.stalled(now - LOST_MESSAGE_AFTER):
        if results.advance(run):
            log.warning("run %s stood still between two steps; it goes on", run)


def restart_joins() -> None:
    """Send every join again that was under way: the control worker, just started, does none yet."""
    for join in _joins(StepState.RUNNING):
        redispatch.join_again(join)


def _expire(now: datetime) -> None:
    if not open_work.runs_are_late(now):
        return
    for run in Run.objects.active().filter(deadline_at__lte=now):
        deadlines.end_late(run, now)


_OF_WORK = (
    _expire,
    _take_from_the_dead,
    _place_waiting,
    _send_lost_messages,
    stealing.steal,
    _join_again,
    _go_on,
)


def run_forever(
    stop: threading.Event, every_s: float, show_life: Callable[[], object] = lambda: None
) -> None:
    """The control worker's sweep thread; `show_life` is called before each pass."""
    live.look_regularly()
    unheard: datetime | None = clock.now() - timedelta(minutes=1)
    while not stop.wait(every_s):
        show_life()
        now = clock.now()
        if not sweep(now):
            unheard = unheard or now - timedelta(seconds=settings.WEBPOOL_LEASE_S)
        elif unheard is not None:
            try:
                endings.wake_waiters(unheard)
                unheard = None
            except (redis.exceptions.RedisError, DatabaseError, OSError) as error:
                log.warning("waiters could not be woken: %s; trying again in %g s", error, every_s)
