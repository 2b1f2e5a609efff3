"""Processor time of a request in the web process and in its browser's worker, from point to point."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from browsers.queues import queue_of
from browsers.supervisor import can_fork
from webpool_site.lab.bench import processor
from webpool_site.lab.bench.stats import Table
from webpool_site.lab.bench.switches import points
from webpool_site.lab.bench.switches.signals import POINTS, SIGNALS

_WARM_UP: Final = 5
_WRITTEN_WITHIN_S, _LOOK_EVERY_S = 20.0, 0.05
_REST: Final = {
    "web": "the event loop: HTTP, who calls, threads woken",
    "worker": "Celery, and the browser's other threads",
}


def tables(
    pids: Mapping[str, int], browser: str, connect: Callable[[], processor.Caller], n: int
) -> Iterator[Table]:
    """`connect`: to who asks that browser, `n` times for each; nothing where processes are not forked."""
    if can_fork():
        yield _table("web", pids["web"], points.WEB, connect, n)
        yield _table("worker", pids[queue_of(browser)], points.WORKER, connect, n)


def _table(
    part: str, pid: int, words: Mapping[str, str], connect: Callable[[], processor.Caller], n: int
) -> Table:
    name = queue_of("its own") if part == "worker" else part
    with contextlib.closing(connect()) as ask:
        for _ in range(_WARM_UP):
            ask()
        os.kill(pid, SIGNALS[POINTS])
        all_of_it = processor.per_request({name: pid}, ask, n, {})[part]
        os.kill(pid, SIGNALS[POINTS])
    found = _written(pid)
    lines = [(text, found.get(point, 0.0) / n) for point, text in words.items()]
    rest = all_of_it - sum(ms for _, ms in lines)
    return Table(
        f"processor time of a request in the {part} from point to point ({n} requests)",
        ("what happens", "ms"),
        (*lines, (_REST[part], rest), ("all of it, with three seconds of rest", all_of_it)),
    )


def _written(pid: int) -> Mapping[str, float]:
    path, until = points.file_of(pid), time.monotonic() + _WRITTEN_WITHIN_S
    while not path.exists() and time.monotonic() < until:
        time.sleep(_LOOK_EVERY_S)
    try:
        return points.read(pid)
    finally:
        path.unlink(missing_ok=True)
