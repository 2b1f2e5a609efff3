"""The one who kills: a process outside webpool that knows nothing but the process table.

`python -m webpool_site.lab.faults.chaos HOME --kills 100 --seed 7 --every 1.0` prints a JSON line per strike.
Whom and when is drawn from the seed; what is there to be hit is what the pool has at that moment.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from browsers.processes import running
from webpool_site.lab.faults.targets import OF_BROWSER, SERVICES, NoTarget, Target, Targets

# How often each is chosen. Services too: the pool must live without any of them for a while.
WEIGHTS: Mapping[Target, int] = {
    Target.PAGE: 40, Target.GPU: 10, Target.BROWSER: 14, Target.DRIVER: 7, Target.WORKER: 7,
    Target.CONTROL: 6, Target.WEB: 4, Target.VALKEY: 8, Target.HISTORY: 2, Target.BEAT: 2,
    Target.FORK_SERVER: 4,
}  # fmt: skip
_STOPPED_SHARE = 0.12
# Nobody replaces a stopped service: it is continued after a while. So is half of what a browser has.
_SHORTEST_STOP_S, _LONGEST_STOP_S = 0.3, 6.0
# One that is down already is waited for, so that the living are not hit the more often for it. Most
# browsers are left to work for a while before they are hit again: one that never does computes nothing.
# For how long is said in processor time of the page, since a slow machine spends seconds on its start alone.
_WAIT_S = 60.0
_LONGEST_WORK_S = 4.0
_AT_WORK_SHARE = 0.8
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class Strike:
    """One signal to one process. `at` and `started` in Unix time; `continued_s`: SIGCONT after so long."""

    at: float
    target: str
    browser: str
    pid: int
    started: float
    name: str
    stopped: bool
    continued_s: float | None = None


class ChaosMonkey:
    """Draws strikes and carries them out."""

    def __init__(
        self,
        targets: Targets,
        *,
        random_: random.Random,
        every_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._targets, self._random, self._every_s, self._clock = targets, random_, every_s, clock
        self._stopped: dict[psutil.Process, float] = {}

    def strikes(self, count: int, *, for_s: float) -> Iterator[Strike]:
        """So many, or as many as can be had in `for_s`."""
        over = self._clock() + for_s
        for _ in range(count):
            self._sleep(self._random.uniform(0.0, 2.0 * self._every_s))
            strike = self._strike(over)
            if strike is None:
                break
            yield strike
        self._sleep(max([0.0, *(due - self._clock() for due in self._stopped.values())]))

    def _sleep(self, seconds: float) -> None:
        """Wait, and continue those whose time has come."""
        until = self._clock() + seconds
        while True:
            now = self._clock()
            for process in [p for p, due in self._stopped.items() if due <= now]:
                del self._stopped[process]
                if running(process):
                    process.resume()
            if now >= until:
                return
            next_due = min([until, *self._stopped.values()])
            time.sleep(max(0.001, min(0.05, next_due - now)))

    def _strike(self, over: float) -> Strike | None:
        """Hit the first that is drawn and found, whatever it does just now; None when the time is over."""
        while self._clock() < over:
            (target,) = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))
            at_work = self._random.random() < _AT_WORK_SHARE
            worked_s = self._random.uniform(0.0, _LONGEST_WORK_S) if at_work else None
            until = min(over, self._clock() + _WAIT_S)
            while self._clock() < until:
                with contextlib.suppress(NoTarget, psutil.NoSuchProcess):
                    browser = self._browser(worked_s) if target in OF_BROWSER else ""
                    return self._hit(self._targets.find(target, browser), target, browser)
                self._sleep(_LOOK_EVERY_S)
        return None

    def _browser(self, worked_s: float | None) -> str:
        """Any browser; with `worked_s` one whose page is there and has had a processor for so long.

        Raises:
            NoTarget: there is none, or the one that was drawn has done less.
        """
        found = self._targets.browsers()
        if not found:
            raise NoTarget("no browser has a worker now")
        browser = self._random.choice(found)
        if worked_s is not None:
            used = self._targets.find(Target.PAGE, browser).cpu_times()
            if used.user + used.system < worked_s:
                raise NoTarget(f"the page of {browser} has not done much yet")
        return browser

    def _hit(self, process: psutil.Process, target: Target, browser: str) -> Strike:
        started, name = process.create_time(), process.name()
        stop = self._random.random() < _STOPPED_SHARE
        lasting = target not in (*SERVICES, Target.WORKER) and self._random.random() < 0.5
        continued_s = None
        if stop and not lasting:
            continued_s = self._random.uniform(_SHORTEST_STOP_S, _LONGEST_STOP_S)
        at = self._clock()
        if stop:
            process.suspend()
            if continued_s is not None:
                self._stopped[process] = at + continued_s
        else:
            process.kill()
        return Strike(at, target.value, browser, process.pid, started, name, stop, continued_s)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--every", type=float, required=True, help="mean seconds between strikes")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="at most so long")
    given = parser.parse_args()
    monkey = ChaosMonkey(
        Targets(given.home), random_=random.Random(given.seed), every_s=given.every
    )
    for strike in monkey.strikes(given.kills, for_s=given.seconds):
        sys.stdout.write(json.dumps(asdict(strike)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
