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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from django.db import connection

from browsers.live import living
from webpool_site.faults.campaign import HEAL_WITHIN_S, OWNER
from webpool_site.faults.health import wait_whole
from webpool_site.faults.trial import Trial, ask
from webpool_site.faults.victims import NoVictim, Victim, Victims
from webpool_site.faults.work import Question

NAME = "flapping"
ABOUT = (
    "one browser is killed whenever it has come up: the others' requests, beside those without it"
)
_CALLERS = 2
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class Flapping:
    """What requests took, in ms, whole; `right` of `asked` had the right answer while it flapped."""

    browser: str
    kills: int
    asked: int
    right: int
    healthy_ms: tuple[float, ...]
    flapping_ms: tuple[float, ...]

    def figures(self) -> dict[str, Any]:
        """JSON; `p95_ratio` is null without samples."""
        healthy, flapping = _p95(self.healthy_ms), _p95(self.flapping_ms)
        return {
            "browser": self.browser,
            "kills": self.kills,
            "asked": self.asked,
            "right": self.right,
            "healthy_p50_ms": _median(self.healthy_ms),
            "healthy_p95_ms": healthy,
            "flapping_p50_ms": _median(self.flapping_ms),
            "flapping_p95_ms": flapping,
            "p95_ratio": round(flapping / healthy, 2) if healthy and flapping else None,
        }


def flap(
    browser: str,
    *,
    home: Path,
    browsers: Sequence[str],
    question: Question,
    requests: int,
    say: Callable[[str], object],
) -> Flapping:
    """Measure both; the pool is whole before and after."""
    healthy = tuple(name for name in browsers if name != browser)
    for name in browsers:
        ask(question, strategy="none", platform="wasm", browsers=(name,), owner=OWNER)
    calm = _asked(question, requests, healthy)
    with _Killer(home, browser) as killer:
        rough = _asked(question, requests, ())
    wait_whole(home, browsers, timeout_s=HEAL_WITHIN_S)
    told = Flapping(
        browser,
        killer.kills,
        len(rough),
        sum(trial.right is True for trial in rough),
        _took(calm),
        _took(rough),
    )
    say(f"  {NAME}, {browser}: {told.figures()}")
    return told


def _asked(question: Question, requests: int, browsers: tuple[str, ...]) -> list[Trial]:
    def one(_: int) -> Trial:
        try:
            return ask(question, strategy="none", platform="wasm", browsers=browsers, owner=OWNER)
        finally:
            connection.close()

    with ThreadPoolExecutor(_CALLERS) as threads:
        return list(threads.map(one, range(requests)))


class _Killer:
    """Kills one browser's main process whenever the browser takes work; a context manager."""

    def __init__(self, home: Path, browser: str) -> None:
        self.kills = 0
        self._victims, self._browser = Victims(home), browser
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            live = living().get(self._browser)
            if live is None or live.state != "ready":
                continue
            with contextlib.suppress(NoVictim, psutil.NoSuchProcess):
                self._victims.find(Victim.BROWSER, self._browser).kill()
                self.kills += 1
                time.sleep(_LOOK_EVERY_S)  # until its worker has noticed

    def __enter__(self) -> _Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def _took(trials: Sequence[Trial]) -> tuple[float, ...]:
    return tuple(t.took_ms for t in trials if t.right and t.took_ms is not None)


def _median(samples: Sequence[float]) -> float | None:
    return round(float(np.median(samples)), 1) if samples else None


def _p95(samples: Sequence[float]) -> float | None:
    return round(float(np.percentile(samples, 95)), 1) if samples else None
