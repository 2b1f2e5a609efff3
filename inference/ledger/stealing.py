"""What waits behind a long computation goes to a browser that has nothing to do (work stealing).

Placement counts with what it knows. A computation may take longer than that, and a browser that tries a
backend while it is idle answers nobody meanwhile.

1. A browser has nothing to do when no step and no stage of a text is there, and nothing speaks against it.
2. What has waited long is looked at, longest first. A step stays where no such browser can take it, where it
   failed there or a breaker keeps it away, and where it would not be done sooner.
3. In one pass a tenant has one step moved, and a browser takes one: nobody's many keep another's one away.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from browsers.state.live import LiveBrowser, living
from inference.core.placement import BrowserView
from inference.core.stealing import total, worth_moving
from inference.ledger import claims, open_work, redispatch
from inference.ledger.lines import MS, InLine, lines
from inference.models import StepKind, StepState
from inference.scheduling import dispatch
from inference.scheduling.pool_view import snapshot, stages_held

log = logging.getLogger(__name__)
WAITS_LONG: Final = timedelta(seconds=3)


def steal(now: datetime) -> None:
    """Give each idle browser one step that has waited long for a busy one, if it is done sooner there."""
    before = now - WAITS_LONG
    queued = open_work.open_steps(StepKind.COMPUTE, (StepState.QUEUED,), queued_before=before)
    if not (sources := {steps.browser for steps in queued if steps.overdue}):
        return
    alive = living()
    if not (busy := _busy(sources, alive)):
        return
    pool = snapshot()
    idle = _idle(pool, alive)
    served: set[str] = set()
    for one in _overdue(lines(busy, now), before) if idle else ():
        step = one.step
        if step.run.tenant in served or not (better := _better(one, idle, pool, now)):
            continue
        if redispatch.redispatch_to(step, [idle[better]]):
            log.info("shard %s waited long for %s: now %s has it", step, step.browser, better)
            served.add(step.run.tenant)
            del idle[better]
        if not idle:
            return


def _better(
    one: InLine, idle: Mapping[str, BrowserView], pool: Sequence[BrowserView], now: datetime
) -> str:
    """The best of the idle browsers for the step, if it is done sooner there; "": it stays."""
    step = one.step
    assert step.queued_at is not None
    # What is before it where it waits is counted apart.
    views = [
        dataclasses.replace(view, outstanding=0) if view.id == step.browser else view
        for view in pool
    ]
    others = claims.others(step) if claims.has_copies(step) else ()
    takers = dispatch.takers(step, others, views)
    own_ms = next((each.expected_ms for each, _ in takers if each.browser == step.browser), None)
    is_worth_it = functools.partial(
        worth_moving,
        here_ms=total((one.ahead_ms, own_ms)),
        waited_ms=(now - step.queued_at) / MS,
        left_ms=(step.run.deadline_at - now) / MS,
    )
    better = (
        each.browser
        for each, blamed in takers
        if each.browser in idle and not blamed and is_worth_it(each.expected_ms)
    )
    return next(better, "")


def _busy(sources: Iterable[str], alive: Mapping[str, LiveBrowser]) -> dict[str, LiveBrowser]:
    """Those whose worker lives and is at something; a message that is missing is another matter."""
    return {
        browser: alive[browser]
        for browser in sources
        if browser in alive and alive[browser].idle_since is None
    }


def _idle(pool: Iterable[BrowserView], alive: Mapping[str, LiveBrowser]) -> dict[str, BrowserView]:
    """Those that have nothing to do: their decode loops write no text either."""
    free = {view.id: view for view in pool if _is_free(view) and _rests(alive.get(view.id))}
    if not free:
        return {}
    writing = stages_held()
    return {browser: view for browser, view in free.items() if not writing[browser]}


def _is_free(view: BrowserView) -> bool:
    healthy = view.state == "ready" and view.breaker == "closed" and not view.short_of_memory
    return healthy and not view.outstanding


def _rests(browser: LiveBrowser | None) -> bool:
    return browser is not None and browser.idle_since is not None


def _overdue(waiting: Iterable[InLine], before: datetime) -> list[InLine]:
    """What has waited long, longest first."""
    late = [one for one in waiting if one.step.queued_at and one.step.queued_at < before]
    return sorted(late, key=lambda one: (one.step.queued_at, one.step.pk))
