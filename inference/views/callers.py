"""On whose behalf a request is answered; below Django also who calls, by which method, who still waits."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from inference import auth, sandbox
from inference.errors import InvalidRequest
from inference.runs import serving, shares
from inference.views.http import ClientGone, Receive

T = TypeVar("T")


class NotFound(InvalidRequest):
    status = 404


class WrongMethod(InvalidRequest):
    status = 405

    def __init__(self, message: str, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.headers = {"Allow": ", ".join(allowed)}


def check_method(request: HttpRequest, allowed: tuple[str, ...]) -> None:
    """Raises WrongMethod."""
    if request.method not in allowed:
        raise WrongMethod(
            f"{request.path}: expected {' or '.join(allowed)}, got {request.method}", allowed
        )


async def identify(
    request: HttpRequest, *, writes: bool, beside_s: float = shares.LOOP_S
) -> auth.Caller:
    """Say who sent the request, or refuse it, as `auth.identify` does.

    What the request's task has done from then on is done on their behalf. Returns when it is their turn
    (`shares.py`, which says what `beside_s` is); who is refused waits for it, too.
    """
    if (known := auth.known_caller(request)) is not None:  # who called by gRPC
        sandbox.speak_for(known.name)
        return known
    asked = functools.partial(auth.identify, request, writes=writes)
    try:
        caller = asked() if auth.needs_no_lookup(request) else await serving.in_thread(asked)
    except auth.Unauthorised:
        await shares.turn(stranger(request), beside_s)
        raise
    sandbox.speak_for(caller.name)
    await shares.turn(caller.name, beside_s)
    return caller


def stranger(request: HttpRequest) -> str:
    """On whose behalf a request is refused, or a page shown to nobody in particular."""
    return shares.stranger(request.META.get("REMOTE_ADDR") or "")


async def visit(request: HttpRequest) -> None:
    """Wait for the turn of who asks for a page; it may be anybody."""
    logged_in = settings.SESSION_COOKIE_NAME in request.COOKIES
    name = await serving.in_thread(auth.visitor, request) if logged_in else None
    await shares.turn(name or stranger(request), shares.PAGE_S)


_Answered = HttpResponseBase | Awaitable[HttpResponseBase]


@sync_and_async_middleware
def on_behalf_of_caller(
    get_response: Callable[[HttpRequest], _Answered],
) -> Callable[[HttpRequest], _Answered]:
    """Middleware of Django's part: who asks is looked up where it counts, by then `Door` knows the caller."""

    if not iscoroutinefunction(get_response):

        def answer(request: HttpRequest) -> _Answered:
            with sandbox.on_behalf_of(functools.partial(_name_of, request)):
                return get_response(request)

        return answer

    async def answer_async(request: HttpRequest) -> HttpResponseBase:
        with sandbox.on_behalf_of(functools.partial(_name_of, request)):
            return await cast("Awaitable[HttpResponseBase]", get_response(request))

    return answer_async


def _name_of(request: HttpRequest) -> str:
    caller: auth.Caller | None = getattr(request, "webpool_caller", None)
    return caller.name if caller else request.user.get_username()


async def until_gone(work: Awaitable[T], receive: Receive) -> T:
    """The answer, unless the caller leaves first: then the work is cancelled.

    Raises:
        ClientGone: nobody is there to be answered.
    """
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        leaving.cancel()
        task.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
