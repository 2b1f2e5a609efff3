"""A stage that was lost goes to another browser; a session that the store has lost is begun anew.

1. `give` raises the stage's epoch in the ledger, then in the store, where it shuts out who held it before.
   Two who notice the same loss give it once.
2. A standby that follows the stage (takeover/following.py) has it then, and goes on; it also says when it has
   waited for the stage for longer than ever (`overtake`). Without one, the new
   holder replays the stage's log, with the same boundaries between steps, and compares what it gives with
   what the next stage was given already.
3. `rebuild` begins a session anew from its row: the prompt, and the tokens that were told. One that began
   with a kept cache goes on so, too: its log does not tell what was before.
4. A stage that no browser can take now waits without one; `place_waiting` tries again.
5. A text ends where no token can be drawn of it in two browsers, in the same words, and where its stage is
   given on again and again and goes on nowhere.
6. Who gives a stage may die, or lose the store, between the ledger and what he says then: `hand_over` is done
   again by whoever finds that the store is behind.
"""

from __future__ import annotations

import itertools
import logging
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from celery import current_app
from django.conf import settings
from django.db.models import QuerySet

from browsers import clock
from browsers.core.failures import Category, Retry
from browsers.queues import queue_of
from browsers.state import live
from inference.core.generation import telling
from inference.core.generation.asked import Paused
from inference.core.placement import NoBrowser
from inference.generation import endings, frames, placing, streams
from inference.generation.streams import Said, Takeover
from inference.generation.takeover import following
from inference.models import (
    GenerationMemory,
    GenerationRecovery,
    GenerationSession,
    GenerationStage,
    GenerationStandby,
    SessionState,
)
from inference.store import transactions

log = logging.getLogger(__name__)
OPEN_STAGE: Final = "inference.tasks.open_stage"
STANDBY, REPLAY, RECOMPUTE = "standby", "replay", "recompute"
# So often in a row a stage may be given on without having gone on anywhere.
_MOST_IN_VAIN: Final = 8
_FIRST_EPOCH: Final = 1
_OVERTAKEN_AFTER: Final = timedelta(seconds=5)


def send(rows: Iterable[GenerationStage]) -> None:
    """Have each stage's browser load it; what is not sent is noticed later."""
    for row in rows:
        if row.browser:
            current_app.send_task(
                OPEN_STAGE,
                (str(row.session_id), row.index, row.epoch),
                queue=queue_of(row.browser),
                ignore_result=True,
                declare=[],
            )


def give(
    session_id: str,
    index: int,
    epoch: int,
    category: Category | None,
    why: str,
    *,
    standby: GenerationStandby | None = None,
) -> bool:
    """Give a stage to another browser; False: it is not under that epoch any more, or stays where it is.

    Args:
        category: what failed where it was; None: nothing did, it is to go.
        standby: who has it then; None: who can best.
    """
    row = _stages().filter(session__pk=session_id, index=index, epoch=epoch).first()
    if row is None:
        if category is not None:
            following.lost(session_id, index, epoch, category, why)  # if that was a standby's
        return False
    if category is Category.TENSOR_LOST:
        return rebuild(row.session, why)
    if category is not None and (given_up := _given_up(row, category, why)):
        return endings.fail(row.session, category, given_up)
    avoid = {**row.avoid, **({row.browser: str(category)} if category and row.browser else {})}
    standby = standby or following.follower(row)
    browser = standby.browser if standby is not None else _place(row, avoid)
    if not browser and category is None:
        return False  # it stays where it is
    if row.session.reused:
        # What came before its log was a kept cache.
        return rebuild(row.session, why, avoid={index: avoid})
    reached = streams.last_numbers(session_id, row.session.plan.num_shards)[index]
    how = REPLAY if standby is None else STANDBY
    raised = _raise_epoch(row, browser, avoid, how, category, why, until=reached, standby=standby)
    if raised is None:
        return False
    log.warning("stage %s goes from %s to %s: %s", row, row.browser, browser or "nobody yet", why)
    return hand_over(raised)


def hand_over(row: GenerationStage) -> bool:
    """Have the store and its new browser know of a stage what the ledger says; False: it cannot be now.

    Done again it does no harm: whoever did it before may have died of it, or the store did not answer.
    """
    known = row.session.recoveries.get(stage=row.index, epoch=row.epoch)
    if known.how == RECOMPUTE:
        return rebuild(row.session, known.why)
    takeover = Takeover(known.began_at.timestamp(), known.how, known.until)
    paused = Paused(row.index, known.why)
    if streams.give(str(row.session_id), row.index, row.epoch, paused, takeover) is Said.GONE:
        return rebuild(row.session, "the store has lost the session")
    if known.how == REPLAY:
        send([row])
    else:
        streams.wake(row.browser)
    return True


def overtake(
    session_id: str, index: int, epoch: int, position: int, seconds: float, now: datetime
) -> bool:
    """Give a stage to the standby with that epoch, which has waited so many seconds for it.

    Nobody is blamed: a browser that stands still is found out by its own worker. The stage stays where it has
    given something up to that position meanwhile; where its browser said that it computes something longer
    first, or has other work and the deadline of a step has not passed; and where it was given on to a moment
    ago, twice as long each time.
    """
    row = _stages().filter(session__pk=session_id, index=index).first()
    if row is None or row.session.reused or now - row.given_at < _overtaken_after(row):
        return False
    if _excused(row, seconds) or streams.has_ended(session_id) is not False:
        return False
    numbers = streams.last_numbers(session_id, row.session.plan.num_shards)
    if streams.given(numbers, len(row.session.wanted.prompt))[index] >= position:
        return False
    if (standby := following.follower(row, epoch)) is None:
        return False
    why = f"{row.browser} gave nothing for {seconds:.2f} s, which {standby.browser} has"
    return give(session_id, index, row.epoch, None, why, standby=standby)


def _overtaken_after(row: GenerationStage) -> timedelta:
    if row.epoch == _FIRST_EPOCH:
        return timedelta(0)
    before = row.session.recoveries.filter(stage=row.index, how=STANDBY, category="").count()
    return _OVERTAKEN_AFTER * 2 ** min(before, _MOST_IN_VAIN)


def _excused(row: GenerationStage, seconds: float) -> bool:
    """Whether its browser may well give nothing for so long."""
    allowed = streams.allowed_s(str(row.session_id), row.session.plan.num_shards)[row.index]
    if allowed is None or allowed >= settings.WEBPOOL_SESSION_STEP_S:
        return True
    there = live.living().get(row.browser)
    is_busy = there is not None and there.idle_since is None
    return is_busy and seconds < settings.WEBPOOL_SESSION_STALL_S


def _stages() -> QuerySet[GenerationStage]:
    related = GenerationStage.objects.select_related(
        "plan_step", "session", "session__model", "session__plan"
    )
    return related.defer("session__model__summary").filter(session__state=SessionState.RUNNING)


def _given_up(row: GenerationStage, category: Category, why: str) -> str:
    """Why it is of no use to try it anywhere else; empty: it is."""
    if category.retry is Retry.NEVER:
        return why
    since = _since_it_went_on(row)
    if category is Category.REFUSED:
        told = (one.lost_by for one in since if (one.category, one.why) == (category, why))
        if other := next((browser for browser in told if browser != row.browser), ""):
            return f"{why}: in {other} and in {row.browser} alike"
    in_vain = sum(one.category != Category.TENSOR_LOST for one in since)  # the store lost that
    if in_vain < _MOST_IN_VAIN:
        return ""
    return f"stage {row.index} was given on {in_vain} times and went on nowhere: {why}"


def _since_it_went_on(row: GenerationStage) -> Sequence[GenerationRecovery]:
    """Its recoveries that came to nothing, the last one first."""
    recoveries = row.session.recoveries.filter(stage=row.index).order_by("-pk")
    return list(itertools.takewhile(lambda one: one.seconds is None, recoveries))


def _place(row: GenerationStage, avoid: Mapping[str, str]) -> str:
    """The browser that takes it now; empty: none can, and the stage waits."""
    try:
        return _browser_for(row, avoid)
    except NoBrowser as none:
        log.info("stage %s waits: %s", row, none)
        return ""


def _browser_for(row: GenerationStage, avoid: Mapping[str, str]) -> str:
    """The browser that takes it now.

    Raises:
        NoBrowser: says why none can.
    """
    session = row.session
    others = session.stages.exclude(pk=row.pk).values_list("browser", flat=True)
    return placing.browser_for(
        row.plan_step,
        session.wanted,
        session.decoder,
        beside=Counter(others),
        avoid=avoid,
        views=[view for view in placing.pool() if view.state == "ready"],
    )


@transactions.repeated
def _raise_epoch(
    row: GenerationStage,
    browser: str,
    avoid: Mapping[str, str],
    how: str,
    category: Category | None,
    why: str,
    *,
    until: int,
    standby: GenerationStandby | None = None,
) -> GenerationStage | None:
    """The stage as it is since; None: somebody else gave it on."""
    now = clock.now()
    with transactions.alone(f"generation:{row.session_id}"):
        epoch = standby.epoch if standby is not None else following.next_epoch(row)
        raised = GenerationStage.objects.filter(pk=row.pk, epoch=row.epoch).update(
            epoch=epoch,
            browser=browser,
            avoid=dict(avoid),
            given_at=now,
            opened_by=standby.opened_by if standby is not None else "",
        )
        if raised:
            row.standbys.filter(epoch__lte=epoch).delete()
            GenerationRecovery.objects.create(
                session=row.session,
                stage=row.index,
                epoch=epoch,
                lost_by=row.browser,
                taken_by=browser,
                how=how,
                category=category or "",
                why=why,
                until=until,
                began_at=now,
            )
    return _stages().filter(pk=row.pk, epoch=epoch).first() if raised else None


def rebuild(
    session: GenerationSession, why: str, avoid: Mapping[int, Mapping[str, str]] | None = None
) -> bool:
    """Begin a session anew: what was told stays told, everything before the next token is computed again.

    `avoid`: by stage, browser on which it failed → category; other stages stay where they can.
    """
    rows = list(_stages().filter(session=session.pk))
    prompt = session.wanted.prompt
    reached = len(prompt) + len(GenerationSession.objects.get(pk=session.pk).written)
    kept = GenerationMemory.objects.filter(session=session).first()
    memory = frames.read_frame(bytes(kept.frame)).tensors if kept else ()
    ready = {view.id for view in placing.pool() if view.state == "ready"}
    for row in rows:
        failed = (avoid or {}).get(row.index, row.avoid)
        stays = row.browser in ready and row.browser not in failed
        browser = row.browser if stays else _place(row, failed)
        if (
            _raise_epoch(row, browser, failed, RECOMPUTE, Category.TENSOR_LOST, why, until=reached)
            is None
        ):
            return False  # somebody else does the same
    GenerationSession.objects.filter(pk=session.pk).update(reused=0, kept_from=None)
    rows = list(_stages().filter(session=session.pk))
    if not rows:
        return False
    written = _told(session.pk, [row.epoch for row in rows])
    if written is None:
        return True
    tokens = [telling.token_of(document) for document in written]
    log.warning("session %s is begun anew at %d tokens: %s", session, len(tokens), why)
    session_id = str(session.pk)
    epochs = [row.epoch for row in rows]
    steps = frames.first_stage(prompt, tokens, memory=memory)
    news = [Paused(row.index, why) for row in rows]
    streams.begin(session_id, epochs, steps, written, news)
    send(rows)
    return True


def _told(pk: uuid.UUID, epochs: Sequence[int]) -> Sequence[str] | None:
    """All tokens that were told until nobody could tell more; None: the session has ended with them.

    Where the store still has it a listener may have heard more than the row says.
    """
    streams.shut_out(str(pk), epochs)
    session = GenerationSession.objects.select_related("plan").get(pk=pk)
    if endings.write_down(session):
        return None
    written: Sequence[str] = session.written
    return written


def place_waiting(now: datetime, most_s: float) -> None:
    """Try again to place stages that no browser could take; a session that waited too long fails."""
    for row in _stages().filter(browser=""):
        try:
            browser, why = _browser_for(row, row.avoid), ""
        except NoBrowser as none:
            browser, why = "", str(none)
        if browser:
            taken = GenerationStage.objects.filter(pk=row.pk, epoch=row.epoch, browser="")
            if taken.update(browser=browser, given_at=now):
                recoveries = GenerationRecovery.objects.filter(session=row.session_id)
                recoveries.filter(stage=row.index, epoch=row.epoch).update(taken_by=browser)
                send(list(_stages().filter(pk=row.pk)))
        elif (now - row.given_at).total_seconds() > most_s:
            endings.fail(
                row.session,
                Category.NO_BROWSER,
                f"no browser could take stage {row.index} for {most_s:g} s: {why}",
            )
