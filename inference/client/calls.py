"""Runs from a script: each is waited for without a thread of its own, and ends when its caller goes away.

Synchronous callers share one event loop in a background thread. So they may also be called where an event
loop runs already, which they then hold up.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, TypeVar

from browsers.core.failures import Category
from inference.documents import JsonObject, JsonView
from inference.errors import Busy, WebpoolError

if TYPE_CHECKING:
    from inference.runs.requests import RunRequest

T = TypeVar("T")
_AT_ONCE = 64
_UNWIND_WITHIN_S = 2.0


@dataclasses.dataclass(frozen=True)
class Call:
    """A request that is still to be made, and `facts` about it for the answer's metrics."""

    model: str
    request: Callable[[], RunRequest]
    facts: JsonView = dataclasses.field(default_factory=dict)


async def answer(call: Call) -> JsonObject:
    """Run once.

    Returns:
        {"result": name → numpy array, "metrics": as `run_metrics`, with `run`, `filled_in`, the call's
        facts, and `decision`: what history or exploration decided for this run, None where it decided
        nothing}.

    Raises:
        WebpoolError: it was refused or failed. Who is cancelled cancels the run.
    """
    from inference.models import Run
    from inference.runs import creation, serving
    from inference.runs.answers import collect
    from inference.runs.metrics import run_metrics
    from inference.store.tensors import decode_array

    def finish(run: Run) -> JsonObject:
        outputs = collect(run, keep=False)
        metrics = {
            **run_metrics(run),
            "run": str(run.pk),
            "filled_in": list(run.filled_in),
            "decision": run.selection,
            **call.facts,
        }
        return {"result": {t.name: decode_array(t) for t in outputs}, "metrics": metrics}

    return await serving.run_to_end(lambda: creation.create_run(call.request(), taken=True), finish)


async def answers(calls: Sequence[Call]) -> list[JsonObject]:
    """Run many at once; each has its own result, in order.

    A full pool is waited for: a call that is refused for it comes back when it was told to.

    Returns:
        per call {"success": True, "result", "metrics", "error": None}, or {"success": False, "result": None,
        "metrics": None, "error": {"category", "message", "run"}}.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(call: Call) -> JsonObject:
        async with gate:
            while True:
                try:
                    return {"success": True, **await answer(call), "error": None}
                except Busy as busy:
                    await asyncio.sleep(busy.retry_after_s)
                except Exception as error:
                    return {
                        "success": False,
                        "result": None,
                        "metrics": None,
                        "error": _told(error),
                    }

    return list(await asyncio.gather(*map(one, calls)))


def _told(error: Exception) -> JsonObject:
    category = error.category if isinstance(error, WebpoolError) else Category.INTERNAL
    message = str(error) if isinstance(error, WebpoolError) else f"{type(error).__name__}: {error}"
    return {"category": category, "message": message, "run": getattr(error, "run_id", None)}


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="webpool-calls", daemon=True).start()
    return loop


def wait_for(work: Coroutine[object, None, T]) -> T:
    """Await `work` from synchronous code. An interrupt (Ctrl-C) cancels it, and is passed on."""
    ended = threading.Event()

    async def tracked() -> T:
        try:
            return await work
        finally:
            ended.set()

    future = asyncio.run_coroutine_threadsafe(tracked(), _loop())
    try:
        return future.result()
    except BaseException:
        if not future.done():
            future.cancel()
            ended.wait(_UNWIND_WITHIN_S)  # so that its run is cancelled before this process ends
        raise


def in_thread(function: Callable[[], T]) -> T:
    """A blocking call from a thread where no event loop runs, which the database asks for."""
    from inference.runs import serving

    return serving.submit(function).result()
