"""A stream of /v1 whose text cannot go on ends with an error that says so. The test plays the workers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection

from browsers.core.failures import Category
from browsers.state import live
from inference.catalog import registry
from inference.checkpoints.described import Described
from inference.core.generation import telling
from inference.core.generation.sampled import Pick
from inference.generation import frames, recovery, scripts, serving, streams
from inference.models import GenerationSession, GenerationStage, OnnxModel
from tests.support import decoders
from tests.support.asgi import Answered, ask
from tests.support.ledger import publish

pytestmark = pytest.mark.usefixtures("clean", "writer")
PROMPT, WRITTEN = (72, 101), (300, 301, 302)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> decoders.Written:
    return decoders.write(tmp_path_factory.mktemp("decoder"))


@pytest.fixture
def writer(files: decoders.Written, clean: None) -> Iterator[None]:
    described = Described(chat_template=decoders.CHAT_TEMPLATE, special=decoders.SPECIAL)
    registry.add_model(files.onnx, name="streamer", tokenizer=files.tokenizer, described=described)
    publish("a", memory_limit_mb=4000.0)
    yield
    GenerationSession.objects.all().delete()
    OnnxModel.objects.filter(name="streamer").delete()


def text_cannot_be(session: str) -> None:
    assert recovery.give(session, 0, 1, Category.INVALID_INPUT, "no such text can be")


def browsers_are_gone(session: str) -> None:
    live.withdraw("a")
    assert recovery.give(session, 0, 1, Category.BROWSER_CRASH, "it died")
    given_at = GenerationStage.objects.get(session__pk=session).given_at
    recovery.place_waiting(given_at + timedelta(seconds=121), 120)


def somebody_cancels(session: str) -> None:
    serving.cancel(session)


def written_then(harm: Callable[[str], None]) -> str:
    """Some tokens of the session that is asked for next, and then the harm."""
    deadline = time.monotonic() + 60
    try:
        while (session := GenerationSession.objects.active().first()) is None:
            assert time.monotonic() < deadline, "nobody asked"
        name = str(session.pk)
        for index, token in enumerate(WRITTEN):
            position = len(session.wanted.prompt) + index
            feed = (position + 1, frames.tokens_frame(position, [token]))
            pick = telling.pick_to_json(Pick(token, -1.0))
            scripts.run(streams.tell_tokens(name, 0, 1, index, [pick], feed=feed, ended=None))
        harm(name)
        return name
    finally:
        connection.close()


def streamed(path: str, document: dict[str, object], harm: Callable[[str], None]) -> Answered:
    asked = json.dumps({"model": "streamer", "stream": True, "max_tokens": 20, **document}).encode()
    with ThreadPoolExecutor(1) as thread:
        playing = thread.submit(written_then, harm)
        answered = ask("POST", path, asked)
        playing.result()
    return answered


@pytest.mark.parametrize(
    ("harm", "code", "kind"),
    [
        (text_cannot_be, "invalid_input", "invalid_request_error"),
        (browsers_are_gone, "no_browser", "invalid_request_error"),
        (somebody_cancels, "cancelled", "invalid_request_error"),
    ],
)
def test_what_cannot_go_on_ends_with_an_error(
    harm: Callable[[str], None], code: str, kind: str
) -> None:
    answered = streamed("/v1/completions", {"prompt": list(PROMPT)}, harm)
    assert (answered.status, answered.headers["content-type"]) == (
        200, "text/event-stream; charset=utf-8"
    )  # fmt: skip
    *pieces, last = (
        json.loads(line.removeprefix("data: "))
        for line in answered.body.decode().splitlines()
        if line.startswith("data: ")
    )
    texts = "".join(piece["choices"][0]["text"] for piece in pieces)
    assert texts == decoders.tokenizer().decode(list(WRITTEN)), "what was written before is told"
    assert not [piece for piece in pieces if piece["choices"][0]["finish_reason"]]
    assert (last["error"]["code"], last["error"]["type"]) == (code, kind)
    assert last["error"]["message"]
    assert last["error"]["param"] is None


def test_a_form_that_cannot_be_followed_is_the_field_that_is_to_blame() -> None:
    """Some patterns are found out only when they are followed, behind the text's first tokens."""
    document: dict[str, object] = {
        "messages": [{"role": "user", "content": "hi"}],
        "response_format": {"type": "json_object"},
    }
    answered = streamed("/v1/chat/completions", document, text_cannot_be)
    *_, last = (
        json.loads(line.removeprefix("data: "))
        for line in answered.body.decode().splitlines()
        if line.startswith("data: ")
    )
    assert last["error"] == {
        "message": "no such text can be", "type": "invalid_request_error",
        "param": "response_format", "code": "invalid_input",
    }  # fmt: skip
