"""What waits behind a long computation goes to a browser that has nothing to do (work stealing).

Placement counts with what it knows. A computation may take longer than that, and a browser that tries a
backend while it is idle answers nobody meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from browsers.state.live import LiveBrowser, living
from inference.core.placement import BrowserView
from inference.ledger import claims, open_work, redispatch
from inference.models import RunShard, ShardState, StepKind
from inference.scheduling import dispatch
from inference.scheduling.pool_view import snapshot

log = logging.getLogger(__name__)
WAITS_LONG: Final = timedelta(seconds=3)
_AT_MOST = 64  # shards that a pass looks at


def steal(now: datetime) -> None:
    """Give each idle browser one step that has waited long for a busy one, if one may go there."""
    before = now - WAITS_LONG
    queued = open_work.open_steps(StepKind.COMPUTE, (ShardState.QUEUED,), queued_before=before)
    if not (sources := {steps.browser for steps in queued if steps.overdue}):
        return
    alive = living()
    if not (sources := _busy(sources, alive)):
        return
    idle = {view.id: view for view in snapshot() if _is_free(view) and _rests(alive.get(view.id))}
    if not idle:
        return
    for step in first_of_each(_waiting(sources, before)):
        if dispatch.why_none(step, claims.others(step), list(idle.values())) is not None:
            continue
        if moved := redispatch.redispatch_to(step, list(idle.values())):
            log.info("shard %s waited long for %s: now %s has it", step, step.browser, moved)
            del idle[moved]
        if not idle:
            return


def first_of_each(waiting: Iterable[RunShard]) -> list[RunShard]:
    """The one of each tenant that waits longest: nobody's many keep another's one away."""
    first: dict[str, RunShard] = {}
    for step in waiting:
        first.setdefault(step.run.tenant, step)
    return list(first.values())


def _busy(sources: Iterable[str], alive: Mapping[str, LiveBrowser]) -> set[str]:
    """Those whose worker lives and is at something; a message that is missing is another matter."""
    return {
        browser for browser in sources if browser in alive and alive[browser].idle_since is None
    }


def _is_free(view: BrowserView) -> bool:
    healthy = view.state == "ready" and view.breaker == "closed" and not view.short_of_memory
    return healthy and not view.outstanding


def _rests(browser: LiveBrowser | None) -> bool:
    return browser is not None and browser.idle_since is not None


def _waiting(sources: Iterable[str], before: datetime) -> list[RunShard]:
    """What has waited long, longest first."""
    steps = RunShard.objects.outstanding(ShardState.QUEUED).filter(
        kind=StepKind.COMPUTE, browser__in=sources, queued_at__lt=before
    )
    related = steps.select_related("run", "plan_shard", "run__plan", "run__model")
    return list(related.defer("run__model__summary").order_by("queued_at", "pk")[:_AT_MOST])
