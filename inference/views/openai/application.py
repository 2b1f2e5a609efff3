"""/v1/: OpenAI's protocol, as an ASGI application of its own, for the reasons that /v2/ is one."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Mapping
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from inference import auth
from inference.errors import WebpoolError
from inference.runs import serving
from inference.store.paths import sayable
from inference.views import callers, http
from inference.views.http import Answer, ClientGone, Receive, Scope, Send
from inference.views.openai import asking, embeddings, generation, models, transcriptions
from inference.views.openai.asking import Question
from inference.wire import room
from inference.wire.openai.fields import Endpoint
from inference.wire.openai.refusals import NotServed, error_document

_MODELS = re.compile(r"/v1/models(?:/(?P<name>[^/]+))?/?")
_UNSERVED = re.compile(
    r"/v1/(?:audio/(?:speech|translations)|images|responses|files|fine_tuning|moderations|batches|assistants|threads|uploads"
    r"|vector_stores|realtime|videos|conversations|evals|containers)(?:/.*)?"
)


_WRITES: Mapping[str, Callable[[Any], Question]] = {
    Endpoint.CHAT.value: asking.chat,
    Endpoint.COMPLETIONS.value: asking.completion,
}


async def openai(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    request = ASGIRequest(dict(scope), io.BytesIO())
    try:
        with room.of_request():
            answer = await _answer(request, receive, send)
    except ClientGone:
        return
    except Exception as error:
        answer = failure(http.as_webpool_error(error))
    if answer is None:
        return
    await http.send_answer(send, answer)


def failure(error: WebpoolError) -> Answer:
    """An error as OpenAI writes it."""
    document = error_document(error, sayable(str(error)))
    return Answer.of_json(document, error.status, http.error_headers(error).items())


async def _answer(request: HttpRequest, receive: Receive, send: Send) -> Answer | None:
    """None: it was sent as a stream."""
    if match := _MODELS.fullmatch(request.path):
        callers.check_method(request, ("GET", "HEAD"))
        await callers.identify(request, writes=False)
        return Answer.of_json(await serving.in_thread(models.answer, match["name"]))
    path = request.path.removesuffix("/")
    if path == Endpoint.EMBEDDINGS.value:
        caller = await _poster(request)
        document = await _document(request, caller, receive)
        return await callers.until_gone(embeddings.answer(document, caller.name), receive)
    if path == Endpoint.TRANSCRIPTIONS.value:
        caller = await _poster(request)
        body = await http.read_body(request, receive)
        fields = await serving.in_thread(transcriptions.fields_of, request, bytes(body))
        return await callers.until_gone(transcriptions.answer(fields, caller.name), receive)
    if path in _WRITES:
        caller = await _poster(request)
        document = await _document(request, caller, receive)
        read = functools.partial(_WRITES[path], document)
        chat = path == Endpoint.CHAT.value
        work = generation.answer(read, caller.name, send, chat=chat)
        return await callers.until_gone(work, receive)
    if _UNSERVED.fullmatch(request.path):
        await callers.identify(request, writes=request.method not in auth.SAFE_METHODS)
        raise NotServed(f"{path!r:.200} is not served here; {_served()}")
    raise callers.NotFound(f"{path!r:.200} is no path here; {_served()}")


def _served() -> str:
    paths = ", ".join(endpoint.value for endpoint in Endpoint)
    return f"expected /v1/models, {paths}"


async def _poster(request: HttpRequest) -> auth.Caller:
    callers.check_method(request, ("POST",))
    return await callers.identify(request, writes=True)


async def _document(request: HttpRequest, caller: auth.Caller, receive: Receive) -> Any:
    body = await http.read_body(request, receive)
    encoding = request.headers.get("Content-Encoding", "")
    return await http.document(caller.name, body, encoding)
