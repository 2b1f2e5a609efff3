"""Run, wait and collect for an event loop: hundreds of callers wait without a thread each.

What blocks (database, tensor store, reading and writing of bodies) goes to a few threads that keep their
database connections, shared among those who ask (`fair_threads.py`). The wait for the answer is asynchronous,
but for a few callers: while there are not more, each keeps its thread from the request to the answer, which
saves waking the event loop and a thread in between.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

import redis.exceptions
from django.db import close_old_connections

from inference import sandbox
from inference.ledger import deadlines, endings
from inference.models import Run, RunState
from inference.runs import shares
from inference.runs.answers import end_at_deadline, refresh, wait_run
from inference.runs.fair_threads import FairThreads
from inference.store import wakeups

log = logging.getLogger(__name__)
_WAITING = 4
_THREADS = 12 + _WAITING
_ASK_DATABASE_EVERY_S = 5.0

P = ParamSpec("P")
T = TypeVar("T")


@functools.cache
def _threads() -> FairThreads:
    return FairThreads(_THREADS, "serving", shares.charge)


def _call(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return function(*args, **kwargs)
    finally:
        close_old_connections()


def submit(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Start a blocking call in one of the serving threads, on behalf of whom the caller speaks for."""
    call = functools.partial(_call, function, *args, **kwargs)
    context = contextvars.copy_context()
    return _threads().submit(sandbox.spoken_for(), functools.partial(context.run, call))


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await a blocking call that runs in one of the serving threads."""
    return await asyncio.wrap_future(submit(function, *args, **kwargs))


async def run_to_end(
    create: Callable[[], Run],
    finish: Callable[[Run], T],
    release: Callable[[Run], object] = lambda run: None,
) -> T:
    """Create a run, wait until it is terminal, and return what `finish` makes of it.

    At its deadline it is terminal at the latest.
    `create` and `finish` are called in a serving thread. When the caller is cancelled, so is the run.
    `release` is called there, too, with what was finished: nobody waits for it.
    """
    if _may_wait.acquire(blocking=False):
        created: Future[Run] = Future()
        finished: Future[T] = Future()
        work = submit(_in_one_thread, created, finished, create, finish, release)
        work.add_done_callback(lambda _: _may_wait.release())
        return await _or_abandon(created, asyncio.wrap_future(finished))
    created = submit(create)
    return await _or_abandon(created, _by_turns(created, finish, release))


async def _or_abandon(created: Future[Run], answer: Awaitable[T]) -> T:
    """The answer, unless whoever waits is cancelled: then so is the run, as soon as it is created."""
    try:
        return await answer
    except asyncio.CancelledError:
        created.add_done_callback(_abandon)
        raise


async def _by_turns(
    created: Future[Run], finish: Callable[[Run], T], release: Callable[[Run], object]
) -> T:
    """A thread creates, the event loop waits, a thread finishes."""
    run = await asyncio.wrap_future(created)
    await _terminal(run)
    result = await in_thread(lambda: finish(run))
    submit(release, run)
    return result


_may_wait = threading.BoundedSemaphore(_WAITING)


def _in_one_thread(
    created: Future[Run],
    finished: Future[T],
    create: Callable[[], Run],
    finish: Callable[[Run], T],
    release: Callable[[Run], object],
) -> None:
    """All of `run_to_end`.

    `created` is told of the run as soon as it exists, so that it can be cancelled; `finished` of the result
    before the rest is done.
    """
    if not finished.set_running_or_notify_cancel():
        return  # the caller left before anything had begun
    try:
        run = create()
        created.set_result(run)
        result = finish(wait_run(run))
    except BaseException as error:
        finished.set_exception(error)
        return
    finished.set_result(result)
    release(run)


async def _terminal(run: Run) -> None:
    """As `runs.wait_run`, on the event loop."""
    while run.state == RunState.RUNNING:
        if (left := deadlines.left_s(run)) <= 0:
            await in_thread(end_at_deadline, run)
            continue
        try:
            told = await wakeups.wait_async(run.pk, min(left, _ASK_DATABASE_EVERY_S))
        except redis.exceptions.RedisError:
            told = None
            await asyncio.sleep(0.2)  # the store is restarting: ask the database meanwhile
        if told is None:
            await in_thread(refresh, run, None)
        else:
            refresh(run, told)


def _abandon(creating: Future[Run]) -> None:
    """Free the work of a caller that went away, as soon as its run exists."""
    if creating.cancelled() or creating.exception() is not None:
        return
    submit(endings.cancel, creating.result().pk, "the caller went away").add_done_callback(_log)


def _log(done: Future[bool]) -> None:
    if (error := done.exception()) is not None:
        log.error("a run whose caller went away could not be cancelled: %s", error)
