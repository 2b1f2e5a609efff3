"""Callers of an event loop, few and many: real database, real Valkey; the test plays the worker."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from inference.core.lifecycle import RunState
from inference.models import Run
from inference.runs import serving
from inference.runs.answers import collect
from inference.store.tensors import WireTensor, decode_array
from tests.support import workers
from tests.support.ledger import make_run, publish

pytestmark = pytest.mark.usefixtures("clean")
MANY = 9  # more than may keep their thread


@pytest.fixture
def runs() -> list[Run]:
    publish("a")
    return [make_run("none", 1) for _ in range(MANY)]


@pytest.fixture
def worker(runs: list[Run]) -> Iterator[threading.Event]:
    """Answers each run with its place in the list, once the event is set."""
    begin = threading.Event()

    def work() -> None:
        begin.wait(180)
        try:
            for number, run in enumerate(runs):
                step = run.shards.get()
                shard = workers.claim((step.pk, step.fence))
                assert shard is not None
                workers.answer(shard, float(number))
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(work)
        yield begin
        begin.set()
        done.result()


def value(outputs: list[WireTensor]) -> float:
    return float(decode_array(outputs[0])[0])


def test_few_and_many_callers_get_each_their_own_answer(
    runs: list[Run], worker: threading.Event
) -> None:
    async def ask(run: Run) -> float:
        return await serving.run_to_end(lambda: run, lambda ended: value(collect(ended)))

    async def all_of_them() -> list[float]:
        asking = [asyncio.ensure_future(ask(run)) for run in runs]
        await asyncio.to_thread(worker.set)
        return await asyncio.gather(*asking)

    assert asyncio.run(all_of_them()) == [float(number) for number in range(MANY)]


@pytest.mark.parametrize("callers", [1, MANY])
def test_callers_that_leave_take_their_runs_with_them(runs: list[Run], callers: int) -> None:
    """Whether a caller's thread waits or the event loop does."""

    async def leave() -> None:
        begun: list[Run] = []
        asked = [asyncio.ensure_future(_ask(run, begun)) for run in runs[:callers]]
        while len(begun) < callers:
            await asyncio.sleep(0.01)
        for task in asked:
            task.cancel()
        ended = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended)

    asyncio.run(leave())
    deadline = time.monotonic() + 180
    while Run.objects.filter(state=RunState.CANCELLED).count() < callers:
        assert time.monotonic() < deadline, "a run whose caller left goes on"
        time.sleep(0.02)
    assert Run.objects.filter(state=RunState.RUNNING).count() == MANY - callers


@pytest.mark.parametrize("callers", [1, MANY])
def test_what_an_answer_leaves_is_released_after_it_and_not_after_a_failure(
    runs: list[Run], worker: threading.Event, callers: int
) -> None:
    released: list[Run] = []

    async def ask(number: int) -> None:
        def finish(ended: Run) -> None:
            assert ended not in released
            if number % 2:
                raise ValueError("it cannot be written")

        await serving.run_to_end(lambda: runs[number], finish, released.append)

    async def all_of_them() -> list[BaseException | None]:
        asking = [asyncio.ensure_future(ask(number)) for number in range(callers)]
        await asyncio.to_thread(worker.set)
        return await asyncio.gather(*asking, return_exceptions=True)

    came = asyncio.run(all_of_them())
    assert [isinstance(one, ValueError) for one in came] == [bool(n % 2) for n in range(callers)]
    assert not any(isinstance(one, AssertionError) for one in came)
    deadline = time.monotonic() + 180
    while len(released) < (callers + 1) // 2:
        assert time.monotonic() < deadline, "what was answered was not released"
        time.sleep(0.02)
    assert sorted(run.pk for run in released) == sorted(run.pk for run in runs[:callers:2])


async def _ask(run: Run, begun: list[Run]) -> None:
    def create() -> Run:
        begun.append(run)
        return run

    await serving.run_to_end(create, lambda _: None)


def test_what_cannot_be_created_is_told_and_takes_no_ones_place() -> None:
    def refuse() -> Run:
        raise ValueError("no")

    async def ask() -> None:
        await serving.run_to_end(refuse, lambda _: None)

    async def refused() -> int:
        came = await asyncio.gather(*(ask() for _ in range(3 * MANY)), return_exceptions=True)
        return sum(isinstance(error, ValueError) for error in came)

    assert asyncio.run(refused()) == 3 * MANY
    assert asyncio.run(refused()) == 3 * MANY
