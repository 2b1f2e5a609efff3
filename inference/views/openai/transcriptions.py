"""POST /v1/audio/transcriptions: a sound's windows, each encoded by a run and written by a session."""

from __future__ import annotations

import dataclasses
import io
from typing import Any, Final

import numpy as np
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParser, MultiPartParserError

from inference import sandbox
from inference.catalog.texts import texts_of
from inference.core.generation.stages import Decoder
from inference.documents import Array, JsonObject
from inference.generation import encoding
from inference.models import OnnxModel
from inference.views.http import Answer
from inference.views.openai import asking, generation
from inference.views.openai.asking import Question
from inference.wire.openai.reading import TranscriptionRequest, read_transcription
from inference.wire.openai.refusals import Refused

_MOST_WINDOWS: Final = 60  # half an hour, for a model that hears 30 s at once
_NUMBERS: Final = {"temperature": float, "seed": int, "shards": int}


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
    """Transcribe the sound of a form.

    Raises:
        WebpoolError: it is refused, or it failed.
    """
    asked: list[TranscriptionRequest] = []

    def read() -> Question:
        request = read_transcription(fields)
        asked.append(request)
        return _question(request)

    document = await generation.whole(read, owner)
    text = "".join(choice["text"] for choice in document["choices"])
    if asked[0].plain:
        return Answer(200, f"{text}\n".encode(), "text/plain; charset=utf-8")
    return Answer.of_json({"text": text, "usage": _usage(document["usage"])})


def _usage(counted: JsonObject) -> JsonObject:
    prompt, written = counted["prompt_tokens"], counted["completion_tokens"]
    tokens = {"input_tokens": prompt, "output_tokens": written, "total_tokens": prompt + written}
    return {"type": "tokens", **tokens}


def _question(request: TranscriptionRequest) -> Question:
    model, decoder = asking.writer(request.writing.model)
    window = encoding.window(decoder) if decoder.encoder else None
    if window is None:
        raise Refused(
            f"model {model.name} hears no sound: expected a decoder whose encoder takes input_features",
            param="model",
            code="model_not_supported",
        )
    begins = _begins(model, decoder, request.language)
    features = _features(request.sound, *window)
    question = asking.question(model, decoder, request.writing, [begins] * len(features), "file")
    sources = tuple(encoding.of_sound(decoder, one) for one in features)
    return dataclasses.replace(question, encoding=sources)


def _begins(model: OnnxModel, decoder: Decoder, language: str) -> list[int]:
    """The tokens that a transcript begins with: the second says the language, where one is asked for."""
    begins = list(decoder.begins)
    if not language:
        return begins
    spoken = texts_of(model).encode(f"<|{language}|>", special=False)
    if len(spoken) != 1 or len(begins) < 2:
        raise Refused(f"language: model {model.name} has no token for {language}", param="language")
    return [begins[0], *spoken, *begins[2:]]


def _features(sound: bytes, mels: int, frames: int) -> Array:
    """float32[windows, mels, frames]."""
    try:
        found = sandbox.ask(
            "features",
            arrays={"file": np.frombuffer(sound, np.uint8)},
            mels=mels,
            frames=frames,
            most=_MOST_WINDOWS,
        )
    except sandbox.Refused as error:
        raise Refused(f"file: {error}", param="file") from error
    return found.arrays["features"]
