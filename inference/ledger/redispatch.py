"""Where steps go: the pool as it is now, steps sent again, what waits for a browser.

Each move is one transaction, each is refused when the step's fence has moved on.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Sequence
from datetime import datetime

import redis.exceptions

from browsers import clock
from browsers.core.failures import Category
from inference.core.lifecycle import UNDER_WAY
from inference.core.placement import BrowserView
from inference.ledger.claims import others, steps_of
from inference.ledger.endings import Actions, fail, follow_up
from inference.models import Attempt, Outcome, Run, RunStep, StepState
from inference.scheduling import dispatch
from inference.scheduling.pool_view import snapshot
from inference.store import step_moves, transactions

log = logging.getLogger(__name__)


def pool_now() -> list[BrowserView]:
    """The pool as it is; empty while Redis does not answer, so that shards wait for the sweep."""
    try:
        return snapshot()
    except redis.exceptions.RedisError as error:
        log.warning("the pool's state cannot be read (%s); ready shards wait", error)
        return []


def fail_if_hopeless(
    run: Run, stuck: Sequence[dispatch.NoBrowser], steps: Iterable[RunStep], now: datetime
) -> Actions:
    """End a run of whose steps one can be taken by nobody, and has no copy that is under way."""
    under_way = {step.index for step in steps if step.state in UNDER_WAY}
    for none in stuck:
        if none.lasting and none.shard not in under_way:
            error = f"{none}{_what_they_said(run, none.shard)}"
            return fail(run, now, category=Category.NO_BROWSER, error=error)
    return []


def _what_they_said(run: Run, index: int) -> str:
    """Why those that tried a step could not do it, in their own words."""
    failed = Attempt.objects.filter(shard__run=run, shard__index=index, outcome=Outcome.FAILED)
    said = dict(failed.order_by("pk").values_list("browser", "error"))
    return "".join(f"; {browser} said: {error}" for browser, error in sorted(said.items()))


def place_again(
    shard: RunStep, pool: Sequence[BrowserView], now: datetime, *, prefer_same: bool = False
) -> tuple[bool, Actions]:
    """Whether a browser was found, and what to do after the commit."""
    siblings = [step for step in steps_of(shard.run) if step.pk != shard.pk]
    avoid = shard.avoid
    if prefer_same:  # a transient error does not count against the browser the first time
        shard.avoid = {}
    queued, stuck = dispatch.assign(shard.run, [shard], siblings, pool, now)
    shard.avoid = avoid
    placed = step_moves.save_placed([shard])
    sent = queued if placed else []
    if hopeless := fail_if_hopeless(shard.run, stuck, siblings, now):
        return False, hopeless
    return bool(sent), [lambda: dispatch.send(sent)]


@transactions.repeated
def redispatch(shard: RunStep) -> bool:
    """Send a queued or ready shard again, wherever is best now; False when it had moved on or waits."""
    now, pool = clock.now(), pool_now()
    if shard.state == StepState.READY and _still_waits(shard, pool):
        return False  # as before: nothing to write down
    shard = copy.copy(shard)
    with transactions.of_run(shard.run_id):
        if not step_moves.recall(shard):
            return False
        sent, after = place_again(shard, pool, now)
    follow_up(after)
    return sent


@transactions.repeated
def redispatch_to(shard: RunStep, pool: Sequence[BrowserView]) -> str:
    """Send a queued shard to one of these browsers; returns its id, "" where the shard had moved on."""
    shard = copy.copy(shard)
    with transactions.of_run(shard.run_id):
        if not step_moves.recall(shard):
            return ""
        sent, after = place_again(shard, pool, clock.now())
    follow_up(after)
    return shard.browser if sent else ""


def _still_waits(shard: RunStep, pool: Sequence[BrowserView]) -> bool:
    none = why_waiting(shard, pool)
    if none is None:
        return False
    return not none.lasting or others(shard).filter(state__in=UNDER_WAY).exists()


def why_waiting(shard: RunStep, pool: Sequence[BrowserView]) -> dispatch.NoBrowser | None:
    """Why no browser of the pool takes a ready shard; None when one would."""
    return dispatch.why_none(shard, others(shard), pool)


def queued_on(browser_id: str) -> list[RunStep]:
    """What waits for a browser, first in first."""
    queued = RunStep.objects.outstanding(StepState.QUEUED).filter(browser=browser_id)
    related = queued.select_related("run", "plan_step", "run__plan", "run__model")
    return list(related.defer("run__model__summary").order_by("queued_at", "pk"))


def move_queued(browser_id: str) -> int:
    """Send what waits for a browser that takes no work now to others; returns how many were sent.

    A shard that no other can take becomes ready, and goes where the first browser is that can.
    """
    return sum(map(redispatch, queued_on(browser_id)))


def join_again(join: RunStep) -> bool:
    """Send a join again whose message or worker is gone; False when it had moved on."""
    if not step_moves.resend(join, clock.now()):
        return False
    dispatch.send([join])
    return True
