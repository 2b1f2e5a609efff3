"""What a caller waits while another one keeps a hundred runs queued for its browser."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator

from inference.errors import Busy
from inference.ledger import endings
from inference.models import Run
from inference.runs import creation
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.stats import Row, row
from webpool_site.lab.bench.strategies import WARM_UP, Member

_QUEUED = 100
_GOAL = 2.0
_GREEDY, _PATIENT = "bench greedy", "bench patient"
_LOOK_EVERY_S = 0.02


def measure(pool: Pool, member: Member) -> Iterator[Row | str]:
    """The same requests one after another, alone and beside the other caller, in one browser on wasm."""
    n = max(20, pool.n)
    request = creation.RunRequest(
        model=member.name, inputs=member.inputs, strategy="none", platform="wasm",
        browsers=(pool.ids[0],), owner=_PATIENT,
    )  # fmt: skip
    for _ in range(WARM_UP):
        creation.infer(request)
    alone = row(f"alone, {pool.ids[0]}", _times(request, n))
    yield alone
    with _keeps_queued(dataclasses.replace(request, owner=_GREEDY)) as seen:
        times = _times(request, n)
    beside = row(f"beside {_QUEUED} queued runs of another caller", times, fewest_queued=min(seen))
    yield beside
    yield f"p95 beside the other caller / alone: {beside.p95_ms / alone.p95_ms:.2f} (goal: at most {_GOAL:g})"


def _times(request: creation.RunRequest, n: int) -> list[float]:
    times = []
    for _ in range(n):
        began = time.perf_counter()
        creation.infer(request)
        times.append((time.perf_counter() - began) * 1000)
    return times


@contextlib.contextmanager
def _keeps_queued(request: creation.RunRequest) -> Iterator[list[int]]:
    """Another caller who sends a new run for each that ended; how many were active whenever it looked."""
    stop, seen = threading.Event(), [_QUEUED]
    mine = Run.objects.active().filter(owner=request.owner)

    def fill() -> int:
        active = mine.count()
        with contextlib.suppress(Busy):
            for _ in range(_QUEUED - active):
                creation.create_run(request)
        return active

    def keep_on() -> None:
        while not stop.wait(_LOOK_EVERY_S):
            seen.append(fill())

    fill()
    thread = threading.Thread(target=keep_on, name="greedy")
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()
        for run_id in mine.values_list("pk", flat=True):
            endings.cancel(run_id, "it was measured what it costs others")
