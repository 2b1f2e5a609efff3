"""Who calls below Django, by which method, and whether somebody still waits for the answer."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable
from typing import TypeVar

from django.http import HttpRequest

from inference import auth
from inference.errors import InvalidRequest
from inference.runs import serving
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


async def identify(request: HttpRequest, *, writes: bool) -> auth.Caller:
    """Say who sent the request, or refuse it, as `auth.identify` does."""
    asked = functools.partial(auth.identify, request, writes=writes)
    return asked() if auth.needs_no_lookup(request) else await serving.in_thread(asked)


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
