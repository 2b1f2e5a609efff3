"""POST /v1/audio/transcriptions: a sound's windows, each encoded by a run and written by a session."""

from __future__ import annotations

import asyncio
import dataclasses
import io
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParser, MultiPartParserError

from inference.documents import JsonObject
from inference.errors import InvalidRequest
from inference.generation import hearing
from inference.runs import serving
from inference.views.http import Answer
from inference.views.openai import asking, generation
from inference.views.openai.asking import Question
from inference.wire.openai.reading import TranscriptionRequest, read_transcription
from inference.wire.openai.refusals import Refused

_AT_ONCE: Final = 2  # one is heard while another is written
_NUMBERS: Final = {"temperature": float, "seed": int, "shards": int}

T = TypeVar("T")


class _InMemory(MemoryFileUploadHandler):
    """The body was read already: its file need not go to disk."""

    def handle_raw_input(self, *_args: Any, **_more: Any) -> None:
        self.activated = True


def fields_of(request: HttpRequest, body: bytes) -> JsonObject:
    """The fields of a form: its file as bytes, numbers as such.

    Raises:
        Refused: it is no form, or a field is there twice.
    """
    meta = {**request.META, "CONTENT_LENGTH": str(len(body))}  # none is said of a body in chunks
    try:
        given, files = MultiPartParser(meta, io.BytesIO(body), [_InMemory(request)]).parse()
    except MultiPartParserError as error:
        raise Refused(f"expected multipart/form-data: {error}", code="invalid_type") from error
    found: JsonObject = {}
    for name, values in [*given.lists(), *files.lists()]:
        if len(values) != 1 or name in found:
            raise Refused(f"{name:.100}: expected it once", param=name[:100])
        value = values[0]
        found[name] = _said(name, value) if isinstance(value, str) else value.read()
    return found


def _said(name: str, text: str) -> object:
    """A form has text only: numbers, true and false are read as JSON would have them."""
    if name in _NUMBERS:
        try:
            return _NUMBERS[name](text)
        except ValueError:
            return text  # refused by its field
    return {"true": True, "false": False}.get(text, text)


async def answer(fields: JsonObject, owner: str) -> Answer:
    """Transcribe the sound of a form, window by window.

    Raises:
        WebpoolError: it is refused, or it failed.
    """
    request = await serving.in_thread(read_transcription, fields)
    question = await serving.in_thread(_question, request)
    documents = await _written(question, owner)
    text = "".join(one["choices"][0]["text"] for one in documents)
    if request.plain:
        return Answer(200, f"{text}\n".encode(), "text/plain; charset=utf-8")
    return Answer.of_json({"text": text, "usage": _usage([one["usage"] for one in documents])})


async def _written(question: Question, owner: str) -> Sequence[JsonObject]:
    """The windows' texts in their order, a few at once: what an encoder makes of each is of many MB."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def write(part: Question) -> JsonObject:
        async with room:
            return await generation.whole(lambda: part, owner)

    work = [asyncio.ensure_future(write(part)) for part in question.parts()]
    try:
        return await asyncio.gather(*work)
    finally:
        for each in work:
            each.cancel()


def _usage(counted: Sequence[JsonObject]) -> JsonObject:
    prompt, written = (
        sum(one[name] for one in counted) for name in ("prompt_tokens", "completion_tokens")
    )
    tokens = {"input_tokens": prompt, "output_tokens": written, "total_tokens": prompt + written}
    return {"type": "tokens", **tokens}


def _question(request: TranscriptionRequest) -> Question:
    """The sound's windows, each a prompt of its own."""
    model, decoder = asking.writer(request.writing.model)
    if not hearing.hears(decoder):
        raise Refused(
            f"model {model.name} hears no sound: expected a decoder whose encoder takes input_features",
            param="model",
            code="model_not_supported",
        )
    begins = _blamed("language", hearing.begins, model, decoder, request.language)
    sources = _blamed("file", hearing.windows, decoder, request.sound)
    question = asking.question(model, decoder, request.writing, [begins] * len(sources), "file")
    return dataclasses.replace(question, encoding=tuple(sources))


def _blamed(field: str, read: Callable[..., T], *given: object) -> T:
    """What is read of a field, which is to blame where that cannot be."""
    try:
        return read(*given)
    except InvalidRequest as error:
        raise Refused(f"{field}: {error}", param=field) from error
