"""Sessions for every door: begin one, listen to it, cancel it.

A listener may go and come again, here or in another process: it names the first token that it lacks. A
session goes on whether anybody listens or not.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
import uuid
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final

import redis.asyncio
import redis.exceptions
from django.conf import settings
from django.core.exceptions import ValidationError

from browsers import clock, locations
from browsers.core.failures import Category
from browsers.core.protocol import WireTensor
from browsers.redis import blocking_client
from inference.catalog import decoders, texts
from inference.core.generation import telling
from inference.core.generation.asked import (
    MOST_STANDBYS,
    Asked,
    Ended,
    Ending,
    Event,
    TokenWritten,
)
from inference.core.generation.stages import Decoder
from inference.core.placement import NoBrowser
from inference.errors import Busy, InvalidRequest, Unavailable, UnknownRun
from inference.generation import endings, frames, placing, prefixes, recovery, streams
from inference.models import (
    GenerationMemory,
    GenerationSession,
    GenerationStage,
    OnnxModel,
    Plan,
    PlanStep,
    SessionState,
)
from inference.runs import admission, quotas
from inference.runs.serving import in_thread
from inference.scheduling.wishes import check_wishes
from inference.store import transactions

_BLOCK_MS: Final = 1000
_AGAIN_S: Final = 0.1
_COME_BACK_S: Final = 5.0


# --- begin ---------------------------------------------------------------------------------------


def start(
    model: OnnxModel,
    asked: Asked,
    owner: str,
    *,
    memory: Sequence[WireTensor] = (),
    beside: Sequence[str] = (),
) -> str:
    """Begin a session; returns its id.

    Args:
        memory: what an encoder made, by the names of the decoder's inputs; `beside`: browsers that made it:
            others are preferred.

    Raises:
        InvalidRequest: the model writes no text, or what is asked for cannot be.
        UnknownBrowser: nothing in the pool has the name of a browser that was asked for.
        Busy: the pool, or this owner, has as much under way as may be.
        Unavailable: no browser can take a stage now, or the store does not answer. Nothing was begun.
    """
    decoder = decoders.decoder_of(model)
    _check(asked, decoder)
    _check_memory(memory, decoder)
    asked = dataclasses.replace(asked, memory_bytes=sum(len(one.data) for one in memory))
    if asked.stop:
        _ = texts.texts_of(model).vocabulary
    # A standby computes all that came before it: there is no cache of it to begin with.
    prefix = None if memory or beside or asked.standbys else _kept(model, asked, owner)
    plan, rows = _placed(model, asked, decoder, beside) if prefix is None else _beside(prefix)
    reused = prefix.length if prefix is not None else 0
    session = GenerationSession(
        id=uuid.uuid4(), model=model, plan=plan, asked=telling.asked_to_json(asked),
        owner=owner, created_at=clock.now(), reused=reused,
        kept_from=prefix.session.pk if prefix is not None else None,
    )  # fmt: skip
    for row in rows:
        row.session = session
    session_id = str(session.pk)
    try:
        steps = frames.first_stage(asked.prompt, (), reused, memory)
        streams.begin(session_id, [1] * len(rows), steps)
    except redis.exceptions.RedisError as error:
        raise Unavailable(
            f"the store does not answer or is full ({error}); is the pool running ({locations.UP})?"
        ) from error
    try:
        _insert(session, rows, memory)
    except BaseException:
        streams.drop(session_id, len(rows))
        raise
    recovery.send(rows)
    return session_id


def _check(asked: Asked, decoder: Decoder) -> None:
    """Refuse what cannot be, before anything is loaded.

    Raises:
        InvalidRequest.
    """
    if not asked.prompt:
        raise InvalidRequest("expected a prompt of at least one token, got none")
    if len(asked.prompt) >= decoder.context:
        raise InvalidRequest(
            f"the prompt has {len(asked.prompt)} tokens, expected fewer than the model's context of "
            f"{decoder.context}; send a shorter one"
        )
    wrong = [token for token in asked.prompt if not 0 <= token < decoder.vocabulary]
    if wrong:
        raise InvalidRequest(
            f"token {wrong[0]}: expected ids from 0 up to and without {decoder.vocabulary}"
        )
    if asked.max_tokens < 1:
        raise InvalidRequest(f"max_tokens {asked.max_tokens}: expected at least 1")
    if not 0 <= asked.standbys <= MOST_STANDBYS:
        raise InvalidRequest(
            f"standbys {asked.standbys}: expected a whole number from 0 to {MOST_STANDBYS}"
        )
    if asked.backend not in ("", *placing.BACKENDS):
        raise InvalidRequest(
            f"backend {asked.backend!r}: expected one of {', '.join(placing.BACKENDS)}; WebNN wants sizes "
            "that do not grow"
        )
    if not 0 <= asked.shards <= decoder.layers:
        raise InvalidRequest(
            f"shards {asked.shards}: expected at most the model's {decoder.layers} layers, or 0: as "
            "many as are needed"
        )


def _check_memory(memory: Sequence[WireTensor], decoder: Decoder) -> None:
    names = {tensor.name for tensor in memory}
    if names != set(decoder.whole.memory):
        wanted = ", ".join(decoder.whole.memory) or "nothing"
        raise InvalidRequest(
            f"the decoder takes {wanted} of an encoder, got {', '.join(sorted(names)) or 'nothing'}"
        )


def _placed(
    model: OnnxModel, asked: Asked, decoder: Decoder, beside: Sequence[str]
) -> tuple[Plan, Sequence[GenerationStage]]:
    """How the model is cut, and a browser for each stage (unsaved)."""
    views = placing.pool()
    check_wishes(asked.browsers, placing.backend_of(asked), {}, views)
    used: Counter[str] = Counter(beside)
    rows = []
    try:
        count = asked.shards or placing.stages_that_fit(model, asked, decoder)
        plan = decoders.plan_for(model, count)
        shards = list(PlanStep.objects.filter(plan=plan).order_by("index"))
        for shard in shards:
            shard.plan = plan
            browser = placing.browser_for(shard, asked, decoder, beside=used, avoid={}, views=views)
            used[browser] += 1
            rows.append(
                GenerationStage(
                    plan_step=shard, index=shard.index, browser=browser, given_at=clock.now()
                )
            )
    except NoBrowser as none:
        raise Unavailable(str(none)) from none
    return plan, rows


def _kept(model: OnnxModel, asked: Asked, owner: str) -> prefixes.Prefix | None:
    try:
        return prefixes.find(model, asked, owner)
    except redis.exceptions.RedisError:
        return None  # whether the store answers is seen, and said, when the session begins


def _beside(prefix: prefixes.Prefix) -> tuple[Plan, Sequence[GenerationStage]]:
    """Each stage goes where the cache is that it begins with (unsaved)."""
    plan = prefix.session.plan
    shards = PlanStep.objects.filter(plan=plan).order_by("index")
    return plan, [
        GenerationStage(plan_step=shard, index=shard.index, browser=browser, given_at=clock.now())
        for shard, browser in zip(shards, prefix.browsers, strict=True)
    ]


@transactions.repeated
def _insert(
    session: GenerationSession, rows: Sequence[GenerationStage], memory: Sequence[WireTensor]
) -> None:
    with transactions.alone("admission"):
        quotas.admit(session.owner, 1 + session.wanted.standbys)
        admission.admit()
        if session.wanted.grammar:
            _admit_form()
        session.save(force_insert=True)
        if memory:
            GenerationMemory.objects.create(session=session, frame=frames.memory_frame(memory))
        GenerationStage.objects.bulk_create(rows)


def _admit_form() -> None:
    """Let one more text in that is held to a form: each has a process of its own that follows it.

    Raises:
        Busy: as many are written as settings.WEBPOOL_MAX_FORMS allows.
    """
    held = GenerationSession.objects.active().exclude(asked__grammar="").count()
    if held >= settings.WEBPOOL_MAX_FORMS:
        raise Busy(
            f"{held} texts that are held to a form are being written, the limit is "
            f"{settings.WEBPOOL_MAX_FORMS} (WEBPOOL_MAX_FORMS); send it again later",
            retry_after_s=_COME_BACK_S,
        )


# --- listen --------------------------------------------------------------------------------------


class _Listening:
    """Where a listener is: which entry it heard last, and how many tokens.

    A session that was begun anew may be behind what its listeners have heard. They go back to the
    beginning, where they hear that it was lost and goes on, and pass over the tokens that they know.
    """

    def __init__(self, session: str, after: int) -> None:
        self.session, self.cursor, self.tokens = session, f"{after}-0", after
        self.key = streams.out_key(session)
        self._begun: bytes | None = None

    def heard(self, found: Any) -> list[Event]:
        """The events of what XREAD gave."""
        events = []
        for entry, fields in found[0][1] if found else ():
            if self._is_another(fields[streams.BEGUN]):
                break
            self.cursor = entry.decode()
            event = telling.from_json(fields[streams.EVENT], int(self.cursor.split("-")[0]))
            if isinstance(event, TokenWritten):
                if event.index < self.tokens:
                    continue
                self.tokens = event.index + 1
            events.append(event)
        return events

    def _is_another(self, begun: bytes) -> bool:
        """Whether the session was begun anew; then the cursor is at its beginning."""
        known, self._begun = self._begun, begun
        if known in (None, begun):
            return False
        self.cursor = "0-0"
        return True

    def from_row(self) -> list[Event]:
        """What the row says, where the store has nothing more to tell; empty: it goes on.

        Raises:
            UnknownRun: there is no such session.
        """
        begun = streams.begun(self.session)
        if begun is not None and self._is_another(begun):
            return []
        row = _row(self.session)
        if row.state != SessionState.ENDED:
            return []
        if streams.has_ended(self.session):
            return []  # it is still told
        later = [
            telling.from_json(document, index + 1)
            for index, document in enumerate(row.written)
            if index >= self.tokens
        ]
        ended = Ended(
            Ending(row.ending), len(row.wanted.prompt), len(row.written), row.reused,
            error=row.error, category=row.error_category,
        )  # fmt: skip
        return [*later, ended]


def _row(session: str) -> GenerationSession:
    try:
        return GenerationSession.objects.select_related("plan").get(pk=session)
    except (GenerationSession.DoesNotExist, ValidationError) as error:
        raise UnknownRun(f"no session has the id {session!r}") from error


def listen(session: str, after: int = 0) -> Iterator[Event]:
    """All events from token `after` on, waiting for new ones, up to `Ended`.

    While the store does not answer this waits, too.

    Raises:
        UnknownRun: there is no such session.
    """
    where = _Listening(session, after)
    _row(session)
    while True:
        try:
            found: Any = blocking_client().xread({where.key: where.cursor}, None, _BLOCK_MS)
            events = where.heard(found) or where.from_row()
        except redis.exceptions.RedisError:
            time.sleep(_AGAIN_S)
            continue
        yield from events
        if events and isinstance(events[-1], Ended):
            return


_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = (
    weakref.WeakKeyDictionary()
)


def _client() -> redis.asyncio.Redis:
    """The running event loop's connections, one per listener; idle ones are kept for the next."""
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        _clients[loop] = redis.asyncio.Redis.from_url(
            settings.WEBPOOL_REDIS_URL, socket_timeout=None, socket_connect_timeout=2
        )
    return _clients[loop]


async def events(session: str, after: int = 0) -> AsyncIterator[Event]:
    """As `listen`, without holding a thread."""
    where = _Listening(session, after)
    await in_thread(_row, session)
    while True:
        try:
            found: Any = await _client().xread({where.key: where.cursor}, None, _BLOCK_MS)
            news = where.heard(found) or await in_thread(where.from_row)
        except redis.exceptions.RedisError:
            await asyncio.sleep(_AGAIN_S)
            continue
        for event in news:
            yield event
        if news and isinstance(news[-1], Ended):
            return


# --- cancel --------------------------------------------------------------------------------------


def cancel(session: str) -> None:
    """End a session that nobody wants any more; one that has ended stays as it is.

    Raises:
        UnknownRun: there is no such session.
    """
    row = _row(session)
    if row.state != SessionState.ENDED:
        endings.end(row, Ending.CANCELLED, Category.CANCELLED, "it was cancelled")
