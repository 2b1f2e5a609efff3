"""Which browsers follow a stage: found, asked, given up, and the one that takes over.

1. Once a text has its first token, each stage that lacks a standby is given one, in a browser that neither
   has the stage nor follows it. It is asked as for a stage, reads the same inputs and computes them, under
   an epoch of its own that is later than the stage's.
2. What it gives is compared with what stands there; one that gives something else is given up.
3. When the stage is lost, `follower` names the one whose epoch the stage's becomes. The store takes what that
   one gives from then on; others with later epochs follow on.
4. One that is lost leaves its reason; another browser is asked, and its own after a moment.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from celery import current_app
from django.db.models import Max, QuerySet

from browsers import clock
from browsers.core.failures import Category
from browsers.queues import queue_of
from browsers.state import live
from browsers.state.live import LiveBrowser
from inference.core.placement import NoBrowser
from inference.generation import placing
from inference.models import GenerationSession, GenerationStage, GenerationStandby, SessionState
from inference.store import transactions

log = logging.getLogger(__name__)
FOLLOW_STAGE: Final = "inference.tasks.follow_stage"
_AGAIN: Final = timedelta(seconds=10)


def active() -> QuerySet[GenerationStandby]:
    """All that are not lost, of texts that are being written."""
    return GenerationStandby.objects.filter(
        category="", stage__session__state=SessionState.RUNNING
    ).select_related("stage")


def next_epoch(row: GenerationStage) -> int:
    """Later than the stage's and all its standbys'."""
    latest = row.standbys.aggregate(latest=Max("epoch"))["latest"] or 0
    return max(row.epoch, latest) + 1


def follower(row: GenerationStage) -> GenerationStandby | None:
    """The standby that takes the stage over; None: none can."""
    alive = live.living()
    standbys = active().filter(stage=row).exclude(browser=row.browser)
    return next((each for each in standbys if _follows(each, alive)), None)


def lost(session_id: str, index: int, epoch: int, category: Category, why: str) -> bool:
    """Note that the standby with that epoch follows no more; False: there is none."""
    standbys = active().filter(stage__session__pk=session_id, stage__index=index, epoch=epoch)
    changed = bool(standbys.update(category=category, why=why, given_at=clock.now()))
    if changed:
        log.warning("stage %s of %s lost a standby: %s", index, session_id, why)
    return changed


def look(alive: Mapping[str, LiveBrowser]) -> None:
    """Give those up whose browser is gone, is drained, or has a new worker."""
    for standby in active():
        if standby.opened_by and not _follows(standby, alive):
            named = (str(standby.stage.session_id), standby.stage.index, standby.epoch)
            lost(*named, Category.BROWSER_CRASH, f"{standby.browser} is not there any more")


def keep(session: GenerationSession, now: datetime) -> None:
    """Find a standby for each stage of a text that lacks one."""
    count = session.wanted.standbys
    if not count or not session.written:
        return
    for row in session.stages.select_related("plan_shard").exclude(opened_by=""):
        row.session = session
        standbys = list(row.standbys.all())
        there = [each.browser for each in standbys if not each.category]
        if len(there) >= count:
            continue
        resting = {
            each.browser for each in standbys if each.category and now - each.given_at < _AGAIN
        }
        browser = _best(row, {row.browser, *there, *resting})
        if browser:
            _ask(row, browser, now)


def _follows(standby: GenerationStandby, alive: Mapping[str, LiveBrowser]) -> bool:
    there = alive.get(standby.browser)
    return there is not None and there.state == "ready" and there.worker == standby.opened_by


def _best(row: GenerationStage, taken: set[str]) -> str:
    """The browser that is to follow the stage; empty: there is none."""
    session = row.session
    stages = session.stages.exclude(pk=row.pk).values_list("browser", flat=True)
    standbys = active().filter(stage__session=session).values_list("browser", flat=True)
    views = [view for view in placing.pool() if view.state == "ready" and view.id not in taken]
    try:
        return placing.browser_for(
            row.plan_shard,
            session.wanted,
            session.decoder,
            beside=Counter(stages) + Counter(standbys),
            avoid=row.avoid,
            views=views,
        )
    except NoBrowser:
        return ""


@transactions.repeated
def _ask(row: GenerationStage, browser: str, now: datetime) -> None:
    with transactions.alone(f"generation:{row.session_id}"):
        if not GenerationStage.objects.filter(pk=row.pk, epoch=row.epoch).exists():
            return  # it was given on meanwhile
        row.standbys.filter(browser=browser).delete()
        standby = GenerationStandby.objects.create(
            stage=row, epoch=next_epoch(row), browser=browser, given_at=now
        )
    current_app.send_task(
        FOLLOW_STAGE,
        (str(row.session_id), row.index, standby.epoch),
        queue=queue_of(browser),
        ignore_result=True,
        declare=[],
    )
