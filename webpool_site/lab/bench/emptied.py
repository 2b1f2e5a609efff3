"""Browsers of the pool as a line of the table begins with them: they hold nothing, and are trusted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from browsers.processes import pss_mb, tree
from browsers.state import breakers
from browsers.state.live import living
from webpool_site.lab.faults.health import NotHealed, wait_whole
from webpool_site.lab.faults.injection import Fault, inject
from webpool_site.lab.faults.targets import Target, Targets

_HEAL_WITHIN_S = 60.0


def empty(home: Path, browsers: Sequence[str]) -> None:
    """Kill them, so that they hold no model; their workers start them again.

    Raises:
        NotHealed: they did not come back in time.
    """
    targets = Targets(home)
    for browser in browsers:
        inject(targets.find(Target.BROWSER, browser), Fault.KILL)
    until = time.monotonic() + _HEAL_WITHIN_S
    while any(living()[b].loaded for b in browsers if b in living()):
        if time.monotonic() > until:
            raise NotHealed("a killed browser still says that it holds models")
        time.sleep(0.05)
    make_whole(home, browsers)


def make_whole(home: Path, browsers: Sequence[str]) -> None:
    """Repaired, and trusted again: what the next kill costs is not told by the one before."""
    wait_whole(home, browsers, timeout_s=_HEAL_WITHIN_S)
    for browser in browsers:
        breakers.reset(browser)


def memory_mb(home: Path, browser: str) -> float | None:
    """Of the browser's process tree, without its driver."""
    return pss_mb(tree(Targets(home).find(Target.BROWSER, browser)))


def total(parts: Iterable[float | None]) -> float | None:
    """Their sum; None where one is not known."""
    known = list(parts)
    return None if any(part is None for part in known) else float(sum(filter(None, known)))


def less(after: float | None, before: float | None) -> float | None:
    """By how much it is more; None where one is not known."""
    return None if after is None or before is None else after - before
