"""Load a session's stage into the browser that this worker owns, and hand it to the loop."""

from __future__ import annotations

import logging

import redis.exceptions
from django.conf import settings
from django.db.models import QuerySet

from browsers import clock
from browsers.core.errors import BrowserError
from browsers.core.failures import Category
from browsers.worker import BrowserWorker, end_process, owned
from inference.catalog import texts
from inference.core.generation import control
from inference.core.generation.drafts import Drafts
from inference.core.generation.step_times import StepTimes
from inference.core.generation.wording.detokenize import Text
from inference.core.generation.writing import Writer
from inference.generation import placing, prefixes, streams
from inference.generation.guide import SandboxedGuide
from inference.generation.loop import loop_of
from inference.generation.stage import Begins, HeldStage
from inference.generation.streams import Takeover
from inference.generation.takeover.strides import CatchUp
from inference.models import (
    GenerationRecovery,
    GenerationSession,
    GenerationStage,
    GenerationStandby,
    SessionState,
)
from inference.store.files import path_of

log = logging.getLogger(__name__)


def open_stage(session_id: str, index: int, epoch: int) -> None:
    """Load and prove the stage's file, and take the stage; or say why not."""
    worker = owned()
    with worker.at_work():
        row = _row(worker, session_id, index, epoch)
        if row is not None:
            _open(worker, row)


def follow_stage(session_id: str, index: int, epoch: int) -> None:
    """Load and prove the stage's file, and follow the stage as its standby; or say why not."""
    worker = owned()
    with worker.at_work():
        standby = (
            GenerationStandby.objects.select_related(
                "stage__plan_step", "stage__session__plan", "stage__session__model"
            )
            .defer("stage__session__model__summary")
            .filter(stage__session__pk=session_id, stage__index=index, epoch=epoch, category="")
            .filter(browser=worker.id, stage__session__state=SessionState.RUNNING)
            .first()
        )
        if standby is not None:
            _open(worker, standby.stage, standby)


def _row(worker: BrowserWorker, session_id: str, index: int, epoch: int) -> GenerationStage | None:
    """The stage, unless it has been given to somebody else, is open here, or its session has ended."""
    rows = GenerationStage.objects.select_related("plan_step", "session", "session__model")
    return (
        rows.defer("session__model__summary")
        .filter(session__pk=session_id, index=index, epoch=epoch, browser=worker.id)
        .filter(session__state=SessionState.RUNNING)
        .exclude(opened_by=worker.status.instance)  # it was told twice
        .first()
    )


def _open(
    worker: BrowserWorker, row: GenerationStage, standby: GenerationStandby | None = None
) -> None:
    epoch = standby.epoch if standby is not None else row.epoch
    try:
        held = _loaded(worker, row, standby)
    except BrowserError as error:
        _lost(row, epoch, error.judged.category, str(error))
        if error.category.distrusted and not worker.repair(
            error.category, str(error), error.first_rung
        ):
            end_process(f"{worker.id} could not be repaired")
    except Exception as error:
        log.exception("stage %s", row)
        _lost(row, epoch, Category.INTERNAL, f"{type(error).__name__}: {error}")
    else:
        loop_of(worker).open(held)
        if standby is not None:
            GenerationStandby.objects.filter(pk=standby.pk).update(opened_by=worker.status.instance)
        elif held.takeover is not None:
            opened_s = clock.now().timestamp() - held.takeover.began
            _recoveries(row).update(opened_s=opened_s)


def _loaded(
    worker: BrowserWorker, row: GenerationStage, standby: GenerationStandby | None
) -> HeldStage:
    """The stage, with its file in the page and room for its cache; neither is kept where this raises."""
    held = _held(row, standby)
    cache_mb = placing.cache_mb(held.stage, row.session.decoder, row.session.wanted)
    unproved = worker.holding.hold(
        held.holder, held.sha256, backend=held.backend, cache_mb=cache_mb
    )
    try:
        if standby is None:
            GenerationStage.objects.filter(pk=row.pk, epoch=held.epoch).update(
                opened_by=worker.status.instance, unproved=unproved
            )
        if held.takeover is not None and held.takeover.until == 0:
            held.caught_up(worker.id, 0)
    except Exception:
        worker.session.decoding.release(held.holder)
        raise
    return held


def _lost(row: GenerationStage, epoch: int, category: Category, why: str) -> None:
    try:
        streams.tell_control(control.Lost(str(row.session_id), row.index, epoch, category, why))
    except redis.exceptions.RedisError as error:
        log.warning("%s could not be opened, which nobody was told (%s): %s", row, error, why)


def _held(row: GenerationStage, standby: GenerationStandby | None = None) -> HeldStage:
    session, shard = row.session, row.plan_step
    stages = session.plan.num_shards
    last = row.index == stages - 1
    takeover = _takeover(row) if standby is None else None
    return HeldStage(
        session=str(session.pk),
        index=row.index,
        stages=stages,
        epoch=standby.epoch if standby is not None else row.epoch,
        sha256=shard.sha256,
        stage=row.stage,
        backend=placing.backend_of(session.wanted),
        timeout_s=settings.WEBPOOL_SESSION_STEP_S,
        times=StepTimes(settings.WEBPOOL_SESSION_STALL_S),
        shelf=prefixes.shelf_of(session.model, session.owner),
        mb_per_position=placing.mb_per_position(row.stage),
        batches=placing.alike(session.wanted, session.decoder),
        prefix=_begins(session, row.index),
        writer=_writer(session) if last else None,
        takeover=takeover,
        follows=standby is not None,
        catch_up=_catch_up(row, standby, takeover),
    )


def _catch_up(
    row: GenerationStage, standby: GenerationStandby | None, takeover: Takeover | None
) -> CatchUp | None:
    """How far it is behind, where what it lacks may be computed in strides."""
    session = row.session
    if not placing.alike(session.wanted, session.decoder):
        return None
    if takeover is not None:
        until = takeover.until
    elif standby is not None:
        until = streams.last_numbers(str(session.pk), session.plan.num_shards)[row.index]
    else:
        return None
    return CatchUp(len(session.wanted.prompt), until)


def _begins(session: GenerationSession, index: int) -> Begins | None:
    """What the stage begins with, where it need not compute the whole prompt."""
    if not session.reused or session.kept_from is None:
        return None
    kept = GenerationSession.objects.filter(id=session.kept_from).first()
    surpassed = kept is not None and len(kept.wanted.prompt) <= session.reused
    return Begins(f"{session.kept_from}:{index}", session.reused, surpassed)


def _writer(session: GenerationSession) -> Writer:
    """What draws the text of a session, and ends it."""
    decoder, asked = session.decoder, session.wanted
    text_of = Text(texts.texts_of(session.model).vocabulary).add if asked.stop else None
    guide = None
    if asked.grammar:
        guide = SandboxedGuide(path_of(session.model.tokenizer), decoder, asked.grammar)
    return Writer(
        asked,
        context=decoder.context,
        vocabulary=decoder.vocabulary,
        stop_tokens=decoder.stop_tokens,
        suppress_tokens=decoder.suppress_tokens,
        begin_suppress_tokens=decoder.begin_suppress_tokens,
        text_of=text_of,
        guide=guide,
        drafts=Drafts(asked.prompt) if placing.speculates(asked, decoder) else None,
    )


def _recoveries(row: GenerationStage) -> QuerySet[GenerationRecovery]:
    return GenerationRecovery.objects.filter(
        session=row.session_id, stage=row.index, epoch=row.epoch
    )


def _takeover(row: GenerationStage) -> Takeover | None:
    """What it has to catch up with, where the stage was somebody else's."""
    found = _recoveries(row).first()
    if found is None:
        return None
    return Takeover(found.began_at.timestamp(), found.how, found.until)
