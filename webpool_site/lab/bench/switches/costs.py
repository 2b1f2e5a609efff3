"""What breakers and history cost a request: asked in turns with each of them in its place, and taken out.

No product has these switches. What is told of them is of requests that leave the choice of a browser to the
pool, which is where history has a say.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np

from browsers.supervisor import can_fork
from webpool_site.lab.bench import processor
from webpool_site.lab.bench.parts import Line
from webpool_site.lab.bench.stats import Table, timed
from webpool_site.lab.bench.switches.signals import BREAKERS, HISTORY, SIGNALS

ROUNDS: Final = 2
_WARM_UP: Final = 5
_AS_IT_IS: Final = "as it is"
_PROGRAMS: Final = ("valkey", "fork-server")
"""Children that are none of the forked: they know no switch, and the signal would end them."""


def measure(
    pids: Mapping[str, int],
    connect: Callable[[], processor.Caller],
    empty_task: Callable[[], float],
    n: int,
) -> Iterator[Line]:
    """`n` requests of each kind; `empty_task` as `timed` takes it: Celery's own, for the ratio.

    `connect`: a caller for each round; in between the server closes what is idle.
    """
    if not can_fork():
        yield "breakers and history cannot be taken out where the pool's processes are not forked"
        return
    rest = processor.at_rest(pids)
    kinds = {_AS_IT_IS: "", "without breakers": BREAKERS, "without history": HISTORY}
    taken: dict[str, dict[str, float]] = {kind: {} for kind in kinds}
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    empty: list[float] = []
    for _ in range(ROUNDS):
        empty += timed(empty_task, n // ROUNDS, warm_up=_WARM_UP)
        for kind, switch in kinds.items():
            with _taken_out(pids, switch):
                settle = _nothing if switch == HISTORY else processor.until_history_rests
                with contextlib.closing(connect()) as ask:
                    found, took = _one_round(pids, ask, n // ROUNDS, rest, settle)
            times[kind] += took
            for part, ms in found.items():
                taken[kind][part] = taken[kind].get(part, 0.0) + ms / ROUNDS
            processor.until_history_rests()
    yield _table(taken, times, float(np.median(empty)))


def _one_round(
    pids: Mapping[str, int],
    ask: Callable[[], object],
    n: int,
    rest: Mapping[str, float],
    settle: Callable[[], object],
) -> tuple[dict[str, float], list[float]]:
    """Processor time of each part for a request, and each request's time, in ms."""
    times: list[float] = []

    def one() -> None:
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1000)

    for _ in range(_WARM_UP):
        ask()
    return processor.per_request(pids, one, n, rest, settle), times


def _nothing() -> None:
    """Nobody takes over what was measured."""


@contextlib.contextmanager
def _taken_out(pids: Mapping[str, int], switch: str) -> Iterator[None]:
    if not switch:
        yield
        return
    _turn(pids, switch)
    try:
        yield
    finally:
        _turn(pids, switch)


def _turn(pids: Mapping[str, int], switch: str) -> None:
    for name, pid in pids.items():
        if name not in _PROGRAMS:
            os.kill(pid, SIGNALS[switch])


def _table(
    taken: Mapping[str, Mapping[str, float]], times: Mapping[str, list[float]], empty_ms: float
) -> Table:
    parts = list(dict.fromkeys(part for column in taken.values() for part in column))
    medians = [float(np.median(column)) for column in times.values()]
    return Table(
        f"processor time of a request with breakers and history in their place and taken out, in turns "
        f"({len(times[_AS_IT_IS])} requests each over /v2, JSON)",
        ("process", *(f"{kind}, ms" for kind in taken)),
        (
            *((part, *(column.get(part) for column in taken.values())) for part in parts),
            (processor.ALL, *(processor.sum_of(column) for column in taken.values())),
            ("until it is answered, median", *medians),
            ("the same in empty Celery tasks", *(median / empty_ms for median in medians)),
        ),
    )
