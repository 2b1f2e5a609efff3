"""POST /v1/chat/completions and /v1/completions: a session for each answer, told whole or as it goes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from typing import Final

from browsers.core.failures import Category
from inference.core.generation.asked import Ended, Ending, Event, Paused, Resumed, TokenWritten
from inference.core.generation.wording.answer import Answer as AnswerText
from inference.core.generation.wording.answer import Piece
from inference.documents import JsonObject
from inference.generation import encoding
from inference.generation import serving as sessions
from inference.generation.encoding import Encoding, Heard
from inference.runs import serving
from inference.runs.answers import release
from inference.store.paths import sayable
from inference.views import http
from inference.views.http import Answer, Send
from inference.views.openai.asking import Question
from inference.wire.openai.answers import Choice, Form, Usage
from inference.wire.openai.refusals import GenerationFailed, error_document

log = logging.getLogger(__name__)
_FINISH: Final = {Ending.STOP: "stop", Ending.LENGTH: "length"}
_MOST_WAITING: Final = 64  # events that were heard and not sent yet
_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
)


async def answer(
    read: Callable[[], Question], owner: str, send: Send, *, chat: bool
) -> Answer | None:
    """Ask, and answer whole; or send a stream, and give None.

    When it is cancelled, because the caller left, so are its sessions.

    Args:
        read: gives the question; called in a serving thread.

    Raises:
        WebpoolError: nothing was begun, or an answer that is not streamed failed.
    """
    async with _sessions(read, owner) as (question, started):
        form = _form(question, started[0], chat=chat)
        if question.writing.stream:
            await _stream(question, started, form, send)
            return None
        return Answer.of_json(await _whole(question, started, form))


async def whole(read: Callable[[], Question], owner: str) -> JsonObject:
    """The same as a completion's document, whatever the question says of streams."""
    async with _sessions(read, owner) as (question, started):
        return await _whole(question, started, _form(question, started[0], chat=False))


@contextlib.asynccontextmanager
async def _sessions(
    read: Callable[[], Question], owner: str
) -> AsyncGenerator[tuple[Question, list[str]]]:
    """The question and its sessions, which are cancelled where they are not heard to their end."""
    question = await serving.in_thread(read)
    heard = await _encoded(question, owner)
    starting = serving.submit(_start, question, owner, heard)
    try:
        yield question, await asyncio.wrap_future(starting)
    except BaseException:
        starting.add_done_callback(_abandon)
        raise


async def _encoded(question: Question, owner: str) -> Sequence[Heard]:
    """What the encoder makes for each session; what is encoded for several is encoded once."""
    made: dict[Encoding, asyncio.Task[Heard]] = {}
    for source, asked in zip(question.encoding, question.asked, strict=False):
        if source not in made:
            encoded = serving.run_to_end(
                functools.partial(encoding.begin, source, asked, owner),
                functools.partial(encoding.heard, source),
                release,
            )
            made[source] = asyncio.ensure_future(encoded)
    try:
        await asyncio.gather(*made.values())
        return [made[source].result() for source in question.encoding]
    finally:
        for task in made.values():
            task.cancel()


def _start(question: Question, owner: str, heard: Sequence[Heard]) -> list[str]:
    """The sessions' ids; none is left where one could not begin."""
    started: list[str] = []
    nothing = [encoding.NOTHING] * len(question.asked)
    try:
        for asked, one in zip(question.asked, heard or nothing, strict=True):
            session = sessions.start(
                question.model, asked, owner, memory=one.memory, beside=one.browsers
            )
            started.append(session)
    except BaseException:
        _cancel(started)
        raise
    return started


def _abandon(starting: Future[list[str]]) -> None:
    """Free the work of a request that nobody waits for any more, as soon as it has begun."""
    if not starting.cancelled() and starting.exception() is None:
        serving.submit(_cancel, starting.result())


def _cancel(started: Sequence[str]) -> None:
    for session in started:
        try:
            sessions.cancel(session)
        except Exception as error:  # the others are to be cancelled, too
            log.error("a session whose caller went away could not be cancelled: %s", error)


def _form(question: Question, session: str, *, chat: bool) -> Form:
    return Form(
        chat=chat,
        id=f"{'chatcmpl' if chat else 'cmpl'}-{session}",
        created=int(time.time()),
        model=question.model.name,
        fingerprint=f"fp_{question.model.sha256[:16]}",
        vocabulary=question.vocabulary,
        tells_tokens=question.writing.tells_tokens,
        tells_usage=question.writing.tells_usage,
    )


class _Telling:
    """The answers to one request, as far as they are known."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._texts = [
            AnswerText(question.vocabulary, question.writing.stop, question.stop_tokens)
            for _ in question.asked
        ]
        self._calls = [question.new_calls() for _ in question.asked]
        self._ended: dict[int, Ended] = {}

    def add(self, index: int, event: TokenWritten) -> Piece:
        return self._called(index, self._texts[index].add(event.pick))

    def end(self, index: int, event: Ended) -> tuple[Piece, str]:
        """The rest of an answer, and why it ended.

        Raises:
            GenerationFailed: not as it should.
        """
        if event.ending not in _FINISH:
            category = Category.of(event.category) if event.category else Category.INTERNAL
            if event.ending is Ending.CANCELLED:
                category = Category.CANCELLED
            writing = self._question.writing
            of_form = category is Category.INVALID_INPUT and writing.grammar
            raise GenerationFailed(
                event.error or "the generation was cancelled", category,
                param=writing.grammar_field if of_form else None,
            )  # fmt: skip
        self._ended[index] = event
        piece = self._called(index, self._texts[index].end(), last=True)
        found = self._calls[index]
        called = found is not None and found.count > 0
        finish = _FINISH[event.ending]
        return piece, "tool_calls" if called and finish == "stop" else finish

    def _called(self, index: int, piece: Piece, *, last: bool = False) -> Piece:
        """The piece, with what of its text are calls of tools as such."""
        found = self._calls[index]
        if found is None:
            return piece
        text, calls = found.add(piece.text)
        if last:
            rest, more = found.end()
            text, calls = text + rest, [*calls, *more]
        return Piece(text, piece.tokens, tuple(calls))

    def usage(self) -> Usage:
        return Usage(
            self._question.prompt_tokens,
            sum(event.tokens for event in self._ended.values()),
            self._cached(),
        )

    def _cached(self) -> int:
        """Of each prompt what none of its answers had to compute."""
        choices = self._question.writing.choices
        by_prompt: dict[int, int] = {}
        for index, event in self._ended.items():
            known = by_prompt.get(index // choices, event.cached_tokens)
            by_prompt[index // choices] = min(known, event.cached_tokens)
        return sum(by_prompt.values())


async def _whole(question: Question, started: Sequence[str], form: Form) -> JsonObject:
    telling = _Telling(question)
    pieces = [[Piece(before)] for before in question.before]
    finishes = [""] * len(started)
    async with contextlib.aclosing(_events(started)) as events:
        async for index, event in events:
            if isinstance(event, TokenWritten):
                pieces[index].append(telling.add(index, event))
            elif isinstance(event, Ended):
                piece, finishes[index] = telling.end(index, event)
                pieces[index].append(piece)
    choices = [
        Choice(
            Piece(
                "".join(p.text for p in parts),
                tuple(t for p in parts for t in p.tokens),
                tuple(call for p in parts for call in p.calls),
            ),
            finish,
        )
        for parts, finish in zip(pieces, finishes, strict=True)
    ]
    return form.whole(choices, telling.usage())


async def _stream(question: Question, started: Sequence[str], form: Form, send: Send) -> None:
    """Send the answers as they are written; an error in the middle is an event, too.

    Raises:
        WebpoolError: before anything was sent.
    """
    await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
    write = functools.partial(_write, send)
    try:
        await _tell(question, started, form, write)
        await write("data: [DONE]\n\n")
    except Exception as failed:
        error = http.as_webpool_error(failed)
        await write(_data(error_document(error, sayable(str(error)))))
        await serving.in_thread(_cancel, started)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _tell(
    question: Question, started: Sequence[str], form: Form, write: Callable[[str], object]
) -> None:
    telling = _Telling(question)
    for index, before in enumerate(question.before):
        await write(_data(form.begins(index, before)))
    async with contextlib.aclosing(_events(started)) as events:
        async for index, event in events:
            match event:
                case TokenWritten():
                    await write(_data(form.goes_on(index, telling.add(index, event))))
                case Ended():
                    piece, finish = telling.end(index, event)
                    await write(_data(form.goes_on(index, piece)) + _data(form.ends(index, finish)))
                case _:
                    await write(_comment(event))
    if form.tells_usage:
        await write(_data(form.counts(telling.usage())))


async def _write(send: Send, text: str) -> None:
    if text:
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


def _data(document: JsonObject | None) -> str:
    """A server-sent event; nothing where there is nothing to tell."""
    return "" if document is None else f"data: {json.dumps(document, allow_nan=False)}\n\n"


def _comment(event: Paused | Resumed) -> str:
    """What a client reads over and a person may want to see."""
    if isinstance(event, Paused):
        said = f"paused: stage {event.stage} is lost: {sayable(event.why)}"
    else:
        said = (
            f"resumed: stage {event.stage} is in {event.browser} by {event.how} after "
            f"{event.seconds:.2f} s"
        )
    return f": {' '.join(said.split())}\n\n"


async def _events(started: Sequence[str]) -> AsyncGenerator[tuple[int, Event], None]:
    """The events of all sessions as they come, each with its session's place."""
    queue: asyncio.Queue[tuple[int, Event] | Exception] = asyncio.Queue(_MOST_WAITING)

    async def listen(index: int, session: str) -> None:
        try:
            async for event in sessions.events(session):
                await queue.put((index, event))
        except Exception as error:
            await queue.put(error)

    tasks = [asyncio.create_task(listen(index, one)) for index, one in enumerate(started)]
    try:
        open_sessions = len(tasks)
        while open_sessions:
            heard = await queue.get()
            if isinstance(heard, Exception):
                raise heard
            open_sessions -= isinstance(heard[1], Ended)
            yield heard
    finally:
        for task in tasks:
            task.cancel()
