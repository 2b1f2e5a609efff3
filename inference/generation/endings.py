"""What was told of a session is written down, and so is its end."""

from __future__ import annotations

import contextlib
import logging
from typing import Final

import redis.exceptions

from browsers import clock
from browsers.core.failures import Category
from inference.core.generation import telling
from inference.core.generation.asked import Ended, Ending, Event, TokenWritten
from inference.generation import streams
from inference.models import GenerationMemory, GenerationRecovery, GenerationSession, SessionState

log = logging.getLogger(__name__)
_FIELDS: Final = ("written", "first_token_at")


def fail(session: GenerationSession, category: Category, why: str) -> bool:
    """End a session without the rest of its text."""
    return end(session, Ending.FAILED, category, why)


def end(
    session: GenerationSession, ending: Ending, category: Category | None = None, why: str = ""
) -> bool:
    """End a session, whose listeners are told; False: it had ended."""
    prompt = len(session.wanted.prompt)
    ended = Ended(
        ending, prompt, len(session.written), session.reused, error=why, category=category or ""
    )
    told = streams.end(str(session.pk), session.plan.num_shards, ended)
    if told or streams.has_ended(str(session.pk)):
        return write_down(session) or told
    return _finish(session, ended)  # the store has lost it: the row says it


def write_down(session: GenerationSession) -> bool:
    """Take over what was told since; returns whether the session has ended with it."""
    known = len(session.written)
    news = [
        (telling.from_json(raw, int(entry.split("-")[0])), raw.decode())
        for entry, raw in streams.events_after(str(session.pk), f"{known}-0")
    ]
    tokens = [raw for event, raw in news if isinstance(event, TokenWritten)]
    if tokens:
        session.written = [*session.written, *tokens]
        session.first_token_at = session.first_token_at or clock.now()
        fields = {name: getattr(session, name) for name in _FIELDS}
        GenerationSession.objects.filter(pk=session.pk).update(**fields)
    ended = _ended([event for event, _ in news])
    return ended is not None and _finish(session, ended)


def _ended(events: list[Event]) -> Ended | None:
    return next((event for event in events if isinstance(event, Ended)), None)


def _finish(session: GenerationSession, ended: Ended) -> bool:
    active = GenerationSession.objects.active().filter(pk=session.pk)
    changed = active.update(
        state=SessionState.ENDED,
        ending=ended.ending,
        error=ended.error,
        error_category=ended.category,
        finished_at=clock.now(),
    )
    if changed and session.wanted.memory_bytes:
        _forget_memory(session)
    return bool(changed)


def _forget_memory(session: GenerationSession) -> None:
    """What an encoder made may be of many MB; nothing is begun anew any more, nor its caches kept."""
    GenerationMemory.objects.filter(session=session).delete()
    with contextlib.suppress(redis.exceptions.RedisError):  # it goes a minute later by itself
        streams.let_go(str(session.pk), session.plan.num_shards)


def note_resumed(session_id: str, stage: int, epoch: int, seconds: float) -> None:
    """The stage goes on where it was given to."""
    recoveries = GenerationRecovery.objects.filter(session__pk=session_id, stage=stage, epoch=epoch)
    recoveries.filter(seconds=None).update(seconds=seconds)
