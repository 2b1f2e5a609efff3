"""Which browsers are asked to follow a stage: as many as its text wants standbys, for each of its stages.

The control worker's thread finds them beside the recoveries of all texts: the pool is looked at once a look,
no more than a few are asked in one, and a stage that no browser can follow rests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from celery import current_app

from browsers.queues import queue_of
from inference.core.placement import BrowserView, NoBrowser
from inference.generation import placing
from inference.generation.takeover import following
from inference.models import GenerationSession, GenerationStage, GenerationStandby, SessionState
from inference.store import transactions

FOLLOW_STAGE: Final = "inference.tasks.follow_stage"
_AGAIN: Final = timedelta(seconds=10)
_MOST: Final = 16
"""Stages that a browser is looked for in one look."""


class Finder:
    """Used by one thread."""

    def __init__(self) -> None:
        self._looked: dict[int, datetime] = {}  # when a stage found none

    def keep(self, sessions: Sequence[GenerationSession], now: datetime) -> None:
        """Find a standby for stages that lack one, of texts that have a token; one each."""
        wanted = {
            session.pk: (session, count)
            for session in sessions
            if session.written and (count := session.wanted.standbys)
        }
        self._looked = {pk: at for pk, at in self._looked.items() if now - at < _AGAIN}
        if not wanted:
            return
        rows = GenerationStage.objects.filter(session__in=wanted).exclude(opened_by="")
        lacking = [
            row
            for row in rows.prefetch_related("standbys")
            if row.pk not in self._looked
            and sum(not each.category for each in row.standbys.all()) < wanted[row.session_id][1]
        ]
        if not lacking:
            return
        views = [view for view in placing.pool() if view.state == "ready"]
        tried = 0
        for row in lacking:
            others = _others(row, views, now)
            tried += bool(others)
            if tried > _MOST:
                return
            row.session = wanted[row.session_id][0]
            browser = _best(row, others) if others else ""
            if browser:
                _ask(row, browser, now)
            else:
                self._looked[row.pk] = now


def _others(row: GenerationStage, views: Sequence[BrowserView], now: datetime) -> list[BrowserView]:
    """Those that neither have the stage nor follow it, nor were lost as its standby a moment ago."""
    taken = {
        each.browser
        for each in row.standbys.all()
        if not each.category or now - each.given_at < _AGAIN
    }
    return [view for view in views if view.id not in taken and view.id != row.browser]


def _best(row: GenerationStage, views: Sequence[BrowserView]) -> str:
    """The browser that is to follow the stage; empty: there is none."""
    session = row.session
    stages = session.stages.exclude(pk=row.pk).values_list("browser", flat=True)
    standbys = following.active().filter(stage__session=session).values_list("browser", flat=True)
    try:
        return placing.browser_for(
            row.plan_step,
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
        same = GenerationStage.objects.filter(pk=row.pk, epoch=row.epoch)
        if not same.filter(session__state=SessionState.RUNNING).exists():
            return  # it was given on meanwhile, or its text has ended
        epoch = following.next_epoch(row)  # before what tells of one is deleted
        row.standbys.filter(browser=browser).delete()
        GenerationStandby.objects.create(stage=row, epoch=epoch, browser=browser, given_at=now)
    current_app.send_task(
        FOLLOW_STAGE,
        (str(row.session_id), row.index, epoch),
        queue=queue_of(browser),
        ignore_result=True,
        declare=[],
    )
