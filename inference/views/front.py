"""The first door: what must be decided before Django reads a request's body.

1. Where HTTPS is demanded, plain HTTP is sent there, whatever the path.
2. /v2/ goes to the Open Inference Protocol's own application, /v1/ to OpenAI's.
3. A body beyond the limit is refused unread, whatever the method; the upload of a model has a larger
   limit of its own. Django keeps what it reads on the disk before it looks who sent it: of who is not known
   here it gets no more than a form has.
4. Who asks waits for a turn (`runs/shares.py`), but for static files and health, and is refused likewise
   where it is nobody that may.

Everything else goes on to Django.
"""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.middleware.security import SecurityMiddleware

from inference import auth
from inference.errors import InvalidRequest, TooLarge, WebpoolError
from inference.runs import serving, shares
from inference.views import callers, http
from inference.views.http import Answer, Receive, Scope, Send
from inference.views.open_inference import open_inference
from inference.views.openai.application import failure, openai

Application = Callable[[Scope, Receive, Send], Awaitable[None]]
_REST_UPLOAD = "/api/models/"
_FORM_UPLOAD = "/admin/inference/onnxmodel/add/"
MOST_OF_STRANGERS_BYTES = 64 * 2**10
"""The one form that they have is the login's. So much from each connection stays in memory."""


class LengthRequired(InvalidRequest):
    status = 411


def front(django: Application) -> Application:
    """The ASGI application that stands before `django`."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await _refuse_upgrade(send)
        door, failed = _door(scope["path"])
        try:
            if settings.SECURE_SSL_REDIRECT and (elsewhere := to_https(_request(scope))):
                return await http.send_answer(send, elsewhere)
            _check_address(scope)
            if door is not None:
                return await door(scope, receive, send)
            await _admit(_request(scope), scope)
            return await django(scope, receive, send)
        except Exception as error:
            return await http.send_answer(send, failed(http.as_webpool_error(error)))

    return application


def _request(scope: Scope) -> ASGIRequest:
    return ASGIRequest(scope, io.BytesIO())


def _door(path: str) -> tuple[Application | None, Callable[[WebpoolError], Answer]]:
    """The application below Django that a path belongs to, if any; how its errors are written."""
    if path == "/v2" or path.startswith("/v2/"):
        return open_inference, http.failure
    if path == "/v1" or path.startswith("/v1/"):
        return openai, failure
    return None, http.failure


async def _refuse_upgrade(send: Send) -> None:
    """No path here speaks WebSocket, and the server itself handles the process's start and end."""
    await send({"type": "websocket.close"})


def _check_address(scope: Scope) -> None:
    """Refuse the character that no row and no file name can hold.

    Raises:
        InvalidRequest.
    """
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        raise InvalidRequest("the address holds a NUL character; expected text")


def to_https(request: HttpRequest) -> Answer | None:
    """Django's own answer to plain HTTP under settings.SECURE_SSL_REDIRECT; None: go on.

    Raises:
        InvalidRequest: the Host header names none of settings.ALLOWED_HOSTS.
    """
    if not settings.SECURE_SSL_REDIRECT:
        return None
    auth.check_host(request)
    redirect = SecurityMiddleware(_never).process_request(request)
    if redirect is None:
        return None
    return Answer(redirect.status_code, b"", headers=(("Location", redirect["Location"]),))


def _never(_: HttpRequest) -> HttpResponse:
    raise AssertionError("this middleware is only asked, it passes nothing on")


async def _admit(request: ASGIRequest, scope: Scope) -> None:
    for_programs = request.path == "/metrics" or request.path.startswith("/api/")
    if for_programs:
        auth.check_host(request)  # of other paths Django refuses it, with a page
    elif not request.path.startswith(settings.STATIC_URL):
        await callers.visit(request)
    writes = request.method not in auth.SAFE_METHODS
    uploads = writes and request.path in (_REST_UPLOAD, _FORM_UPLOAD)
    http.check_declared_length(request, http.UPLOAD_LIMIT if uploads else http.REQUEST_LIMIT)
    if "Transfer-Encoding" in request.headers:
        raise LengthRequired(f"{request.path}: expected a Content-Length, got a chunked body")
    if for_programs:
        caller = await callers.identify(request, writes=writes, beside_s=shares.DJANGO_S)
        scope["webpool.caller"] = caller
    if writes and request.path.startswith("/api/"):
        if uploads:
            await serving.in_thread(auth.check, caller, auth.ADD_MODEL)
    elif uploads:  # the form's own CSRF token is in the body; the admin checks it
        await serving.in_thread(auth.check_staff_login, request, auth.ADD_MODEL)
    else:  # no read has more than a form, whoever asks
        await _check_stranger(request)


async def _check_stranger(request: ASGIRequest) -> None:
    """Refuse more than a form has, unless it comes from somebody whom the admin lets in.

    Raises:
        TooLarge.
    """
    declared = int(request.headers.get("Content-Length", 0))
    if declared <= MOST_OF_STRANGERS_BYTES or await serving.in_thread(auth.is_staff, request):
        return
    raise TooLarge(
        f"the request has {declared} bytes; {request.method} {request.path:.200} takes at most "
        f"{MOST_OF_STRANGERS_BYTES} without a login with staff status: log in at /admin/ first"
    )
