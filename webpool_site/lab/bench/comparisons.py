"""What a comparison costs beside the raw runs that it makes, and whether it finds a browser that was slowed.

It is really slowed, by a fifth: the process of its page is stopped for a sixth of the time, in slices of
some milliseconds. How much slower it became is told beside the same browsers unslowed: no two are equal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
from django.conf import settings

from inference.comparisons import asking, report
from inference.core.comparisons.differences import differences
from inference.models import Comparison, ComparisonState
from inference.runs import creation
from webpool_site.lab.bench.parts import Pool
from webpool_site.lab.bench.stats import Row, row
from webpool_site.lab.bench.strategies import WARM_UP, Member, members
from webpool_site.lab.faults.targets import Target, Targets

_BACKEND: Final = "wasm"
_PLANTED: Final = 1.2
_SLICE_S: Final = 0.006
_LOOK_EVERY_S: Final = 0.05


def measure(pool: Pool) -> Iterator[Row | str]:
    """One browser for the cost; the two fastest for the planted difference."""
    n = max(20, pool.n // 2)
    (member,) = (item for item in members() if item.name == "bench-bert")
    raw = row(f"raw runs, {pool.ids[0]} {_BACKEND}", _raw_ms(member, pool.ids[0], n))
    yield raw
    compared = _finished(member, [pool.ids[0]], n)
    assert compared.ended_at is not None
    took = (compared.ended_at - compared.created_at).total_seconds() * 1000
    yield (
        f"a comparison of {n} runs and one before them took {took / (n + 1):.1f} ms a run: "
        f"{took / (n + 1) / raw.median_ms:.2f} of a raw run"
    )
    if len(pool.ids) < 2:
        yield "a planted difference takes two browsers: not measured"
        return
    steady, slowed = pool.ids[:2]
    before = _times_as_slow(_finished(member, [steady, slowed], n), slowed)
    with _stopped_in_slices(slowed):
        after = _times_as_slow(_finished(member, [steady, slowed], n), slowed)
    found = after.value / before.value
    yield (
        f"{slowed} slowed to {_PLANTED:.2f} times its time: {found:.2f} found "
        f"({before.said()} times {steady}'s before, {after.said()} while slowed: "
        f"{'shown' if after.low > before.high else 'not shown'})"
    )


def _raw_ms(member: Member, browser: str, n: int) -> list[float]:
    request = creation.RunRequest(
        model=member.name, inputs=member.inputs, strategy="none", pins={0: f"{browser}/{_BACKEND}"}
    )
    times = []
    for number in range(WARM_UP + n):
        began = time.perf_counter()
        creation.infer(request)
        if number >= WARM_UP:
            times.append((time.perf_counter() - began) * 1000)
    return times


def _finished(member: Member, browsers: list[str], runs: int) -> Comparison:
    """A comparison that the pool's own control worker carried out."""
    comparison = asking.create(
        asking.Asked(
            model=member.name, browsers=tuple(browsers), backends=(_BACKEND,), runs=runs, seed=1,
            inputs=member.inputs,
        )
    )  # fmt: skip
    while comparison.state == ComparisonState.RUNNING:
        time.sleep(_LOOK_EVERY_S)
        comparison.refresh_from_db()
    return comparison


@dataclasses.dataclass(frozen=True)
class _Ratio:
    """How many times another's time a browser takes, with its interval."""

    value: float
    low: float
    high: float

    def said(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def _times_as_slow(comparison: Comparison, browser: str) -> _Ratio:
    """Of its two cells; whichever is the slower one."""
    told = report.document(comparison)
    cells = {cell["browser"]: cell["samples_ms"] for cell in told["cells"]}
    (one,) = differences(cells)
    assert one.ratio and one.low and one.high, told["said"]
    if one.slower == browser:
        return _Ratio(one.ratio, one.low, one.high)
    return _Ratio(1 / one.ratio, 1 / one.high, 1 / one.low)


@contextlib.contextmanager
def _stopped_in_slices(browser: str) -> Iterator[None]:
    """The page's process stands still for so long that what it computes takes `_PLANTED` times as long."""
    page = Targets(Path(settings.WEBPOOL_HOME)).find(Target.PAGE, browser)
    stop = threading.Event()

    def keep_on() -> None:
        while not stop.is_set():
            began = time.perf_counter()
            page.suspend()
            time.sleep(_SLICE_S)
            page.resume()
            # A busy machine wakes late: what stood still is made up for.
            stood = time.perf_counter() - began
            time.sleep(stood / (_PLANTED - 1))

    thread = threading.Thread(target=keep_on, name="slowing")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with contextlib.suppress(psutil.NoSuchProcess):
            page.resume()
