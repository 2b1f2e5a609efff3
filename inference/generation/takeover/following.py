"""The browsers that follow a stage: what they do, when one is given up, and which one takes over.

1. Once a text has its first token, each stage that lacks a standby is given one (finding.py), in a browser
   that neither has the stage nor follows it. It is asked as for a stage, reads the same inputs and computes
   them, under an epoch of its own that is later than the stage's.
2. What it gives is compared with what stands there; one that gives something else is given up.
3. When the stage is lost, `follower` names the one whose epoch the stage's becomes. The store takes what that
   one gives from then on; others with later epochs follow on.
4. One that is lost leaves its reason; another browser is asked, and its own after a moment.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db.models import Max, QuerySet

from browsers import clock
from browsers.core.failures import Category
from browsers.state import live
from browsers.state.live import LiveBrowser
from inference.generation import streams
from inference.models import GenerationStage, GenerationStandby, SessionState

log = logging.getLogger(__name__)
_BEYOND: Final = timedelta(seconds=60)
_NEAR: Final = 32
"""Positions: standbys say where they are now and then, each at another moment."""


def active() -> QuerySet[GenerationStandby]:
    """All that are not lost, of texts that are being written."""
    return GenerationStandby.objects.filter(
        category="", stage__session__state=SessionState.RUNNING
    ).select_related("stage")


def next_epoch(row: GenerationStage) -> int:
    """Later than the stage's and all its standbys'."""
    latest = row.standbys.aggregate(latest=Max("epoch"))["latest"] or 0
    return max(row.epoch, latest) + 1


def follower(row: GenerationStage, epoch: int | None = None) -> GenerationStandby | None:
    """The standby that takes the stage over: of those that are about as far as the furthest, the first.

    `epoch`: only the one with that may.

    None: none can.

    Raises:
        RedisError: the store does not answer.
    """
    alive = live.living()
    standbys = [each for each in active().filter(stage=row) if _follows(each, alive)]
    standbys = [
        each
        for each in standbys
        if each.browser != row.browser and (epoch is None or each.epoch == epoch)
    ]
    if len(standbys) < 2:
        return standbys[0] if standbys else None
    holders = [(row.index, each.epoch) for each in standbys]
    where = streams.where(str(row.session_id), holders)
    near = (each for each, at in zip(standbys, where, strict=True) if at >= max(where) - _NEAR)
    return next(near)


def lost(session_id: str, index: int, epoch: int, category: Category, why: str) -> bool:
    """Note that the standby with that epoch follows no more, which it is told; False: there is none.

    Raises:
        RedisError: the store does not answer.
    """
    standbys = active().filter(stage__session__pk=session_id, stage__index=index, epoch=epoch)
    standby = standbys.first()
    if standby is None:
        return False
    streams.give_up(session_id, index, epoch)
    changed = bool(standbys.update(category=category, why=why, given_at=clock.now()))
    if changed:
        log.warning("stage %s of %s lost a standby: %s", index, session_id, why)
        streams.wake(standby.browser)
    return changed


def look(alive: Mapping[str, LiveBrowser], now: datetime) -> None:
    """Give those up whose browser is gone, is drained, or has a new worker, or that do not begin."""
    for standby in active():
        named = (str(standby.stage.session_id), standby.stage.index, standby.epoch)
        if standby.opened_by:
            gone = not _follows(standby, alive)
        else:
            there = alive.get(standby.browser)
            gone = there is None or there.state in live.HELD_BACK
        if gone:
            lost(*named, Category.BROWSER_CRASH, f"{standby.browser} is not there any more")
        elif not standby.opened_by and now - standby.given_at > _begins_within():
            seconds = _begins_within().total_seconds()
            why = f"{standby.browser} did not begin to follow within {seconds:g} s"
            lost(*named, Category.TIMEOUT, why)


def _begins_within() -> timedelta:
    """For how long a file may be loaded and proved, and what its browser was at before."""
    return timedelta(seconds=settings.WEBPOOL_ATTEMPT_TIMEOUT_S) + _BEYOND


def _follows(standby: GenerationStandby, alive: Mapping[str, LiveBrowser]) -> bool:
    there = alive.get(standby.browser)
    return there is not None and there.state == "ready" and there.worker == standby.opened_by
