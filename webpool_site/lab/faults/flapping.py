"""One browser that crashes again and again: what that costs requests which the others could answer.

The same requests are made twice: to the healthy browsers alone while nobody is hurt, then to the whole
pool while one browser is killed whenever it has come up.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from django.db import connection

from browsers.state.live import living
from webpool_site.lab.faults.campaign import HEAL_WITHIN_S, OWNER
from webpool_site.lab.faults.health import wait_whole
from webpool_site.lab.faults.report import percentile
from webpool_site.lab.faults.targets import NoTarget, Target, Targets
from webpool_site.lab.faults.trial import Trial, ask
from webpool_site.lab.faults.work import Question

NAME = "flapping"
_CALLERS = 2
_FOR_S = 20.0
_LOOK_EVERY_S = 0.1


def flap(
    browser: str,
    *,
    home: Path,
    browsers: Sequence[str],
    question: Question,
    say: Callable[[str], object],
) -> dict[str, Any]:
    """Measure both; the pool is whole before and after. Returns the figures as JSON.

    Raises:
        NotHealed: it did not become whole again.
    """
    healthy = tuple(name for name in browsers if name != browser)
    if len(healthy) < 2:
        return {"browser": browser, "not_applicable": "two others must stay healthy; start three"}
    for name in (*browsers, *browsers, *browsers):  # loaded, warm, and its time is known
        ask(question, strategy="none", platform="wasm", browsers=(name,), owner=OWNER)
    calm = asked(question, _FOR_S, healthy)
    with _Killer(home, browser) as killer:
        rough = asked(question, _FOR_S, ())
    wait_whole(home, browsers, timeout_s=HEAL_WITHIN_S)
    figures = _figures(browser, killer.kills, calm, rough)
    say(f"  {NAME}, {browser}: {figures}")
    return figures


def _figures(
    browser: str, kills: int, calm: Sequence[Trial], rough: Sequence[Trial]
) -> dict[str, Any]:
    """Times in ms of whole requests with a right answer; `p95_ratio` is null without samples."""
    healthy, flapping = took(calm), took(rough)
    usual, now = percentile(healthy, 95), percentile(flapping, 95)
    return {
        "browser": browser,
        "not_applicable": None,
        "kills": kills,
        "asked": len(calm) + len(rough),
        "right": len(healthy) + len(flapping),
        "healthy_p50_ms": percentile(healthy, 50),
        "healthy_p95_ms": usual,
        "flapping_p50_ms": percentile(flapping, 50),
        "flapping_p95_ms": now,
        "p95_ratio": round(now / usual, 2) if usual and now else None,
    }


def asked(question: Question, for_s: float, browsers: tuple[str, ...]) -> list[Trial]:
    """Callers that ask one request after another for so long."""
    until = time.monotonic() + for_s

    def caller(_: int) -> list[Trial]:
        figures = []
        try:
            while time.monotonic() < until:
                figures.append(
                    ask(question, strategy="none", platform="wasm", browsers=browsers, owner=OWNER)
                )
        finally:
            connection.close()
        return figures

    with ThreadPoolExecutor(_CALLERS) as threads:
        return [trial for some in threads.map(caller, range(_CALLERS)) for trial in some]


class _Killer:
    """Kills one browser's main process whenever the browser takes work; a context manager."""

    def __init__(self, home: Path, browser: str) -> None:
        self.kills = 0
        self._targets, self._browser = Targets(home), browser
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            live = living().get(self._browser)
            if live is None or live.state != "ready":
                continue
            with contextlib.suppress(NoTarget, psutil.NoSuchProcess):
                self._targets.find(Target.BROWSER, self._browser).kill()
                self.kills += 1
                time.sleep(_LOOK_EVERY_S)  # until its worker has noticed

    def __enter__(self) -> _Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def took(trials: Sequence[Trial]) -> tuple[float, ...]:
    return tuple(t.took_ms for t in trials if t.right and t.took_ms is not None)
