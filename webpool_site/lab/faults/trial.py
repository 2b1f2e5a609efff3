"""One run that is hurt while it computes, and what became of it."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from browsers.processes import running, wait_ended
from inference.errors import WebpoolError
from inference.models import Attempt, Outcome, Run, RunState, RunStep, StepState
from inference.runs import creation
from inference.runs.answers import collect, wait_run
from inference.runs.metrics import milliseconds
from webpool_site.lab.faults.injection import Fault, inject
from webpool_site.lab.faults.scenarios import AGAIN, Injection, Scenario
from webpool_site.lab.faults.targets import NoTarget, Targets
from webpool_site.lab.faults.work import Question

_LOOK_EVERY_S = 0.003
_CLAIM_WITHIN_S = 60.0


class _Missed(Exception):
    """The run had ended, or was not where it should be, when the injection came."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """What became of one run.

    Attributes:
        state: how the run ended; "running" if it never did.
        right: whether its answer equals onnxruntime's; None without an answer.
        took_ms: from its creation to its end, by the ledger.
        first_ms: how long its first shard was computed.
        retries: attempts after the first on the same browser, `reroutes`: on another.
        missed: why an injection came too late or found nobody; empty when all of them were dealt.
    """

    run: str
    state: str
    right: bool | None
    took_ms: float | None
    first_ms: float
    retries: int = 0
    reroutes: int = 0
    error: str = ""
    category: str = ""
    missed: str = ""


def ask(question: Question, **how: Any) -> Trial:
    """One run that nobody hurts."""
    return _trial_of(*_ended(question, creation.create_run(question.asked(**how))))


class Attack:
    """One scenario on one pool: how a run is hurt."""

    def __init__(self, scenario: Scenario, *, home: Path, browser: str) -> None:
        self._scenario = scenario
        self._browser = browser
        self._targets = Targets(home)
        self._hurt: list[psutil.Process] = []
        self._hang_on: list[psutil.Process] = []
        self.began = 0.0

    def run(self, question: Question, *, after_s: float, **how: Any) -> Trial:
        """Ask, hurt what computes `after_s` after its claim, and see what comes.

        Raises:
            NoTarget: what should be hurt is not there, or any more.
            CannotInject: this machine does not let us.
        """
        ready = {
            injection: self._targets.find(injection.target, self._browser)
            for injection in self._scenario.injections
            if not injection.whom
        }
        run = creation.create_run(question.asked(**how))
        missed = ""
        try:
            self._strike(run, ready, after_s)
        except (_Missed, NoTarget) as why:
            missed = str(why)
        finally:
            run, right = _ended(question, run)
            if self._scenario.resume:
                self._resume()
        return dataclasses.replace(_trial_of(run, right), missed=missed)

    def _resume(self) -> None:
        for process in self._hurt:
            if running(process):
                process.resume()

    def _strike(self, run: Run, ready: Mapping[Injection, psutil.Process], after_s: float) -> None:
        claimed = _wait_claimed(run, self._browser)
        time.sleep(after_s)
        if not RunStep.objects.filter(pk=claimed.pk, state=StepState.RUNNING).exists():
            raise _Missed(f"shard {claimed.index} was done before the injection")
        self.began = time.monotonic()
        second = ""
        for injection in self._scenario.injections:
            if injection.whom != AGAIN:
                self._do(ready[injection], injection.fault)
                continue
            second = second or _wait_claimed(run, but=self._browser).browser
            self._do(self._targets.find(injection.target, second), injection.fault)

    def _do(self, process: psutil.Process, fault: Fault) -> None:
        below = process.children(recursive=True)
        inject(process, fault)
        self._hurt.append(process)
        if fault in (Fault.KILL, Fault.STOP) and not self._scenario.resume:
            self._hang_on += [process, *below]

    def left(self, *, timeout_s: float) -> tuple[str, ...]:
        """Those of the hurt that should be gone and are not, when they had so long to go."""
        there = wait_ended(self._hang_on, timeout_s=timeout_s)
        return tuple(f"{process.name()} ({process.pid})" for process in there)


def _wait_claimed(run: Run, browser: str = "", *, but: str = "") -> RunStep:
    """The shard of the run that a browser computes: that one, or any other than `but`."""
    until = time.monotonic() + _CLAIM_WITHIN_S
    computing = RunStep.objects.filter(run=run, state=StepState.RUNNING)
    computing = computing.filter(browser=browser) if browser else computing.exclude(browser=but)
    while (shard := computing.exclude(browser="").first()) is None:
        if Run.objects.exclude(state=RunState.RUNNING).filter(pk=run.pk).exists():
            raise _Missed(f"the run ended without {browser or 'another browser'}")
        if time.monotonic() > until:
            raise _Missed(f"{browser or 'another browser'} took no shard of the run")
        time.sleep(_LOOK_EVERY_S)
    return shard


def _ended(question: Question, run: Run) -> tuple[Run, bool | None]:
    try:
        run = wait_run(run)
        return run, question.is_right(collect(run))
    except WebpoolError:
        run.refresh_from_db()
        return run, None


def _trial_of(run: Run, right: bool | None) -> Trial:
    attempts = list(Attempt.objects.filter(shard__run=run).order_by("shard__index", "number"))
    pairs = [
        (one.browser, after.browser)
        for one, after in itertools.pairwise(attempts)
        if one.shard_id == after.shard_id and one.outcome in (Outcome.FAILED, Outcome.LOST)
    ]
    return Trial(
        run=str(run.pk),
        state=run.state,
        right=right,
        took_ms=milliseconds(run.created_at, run.finished_at),
        first_ms=next((a.compute_ms for a in attempts if a.compute_ms is not None), 0.0),
        retries=sum(before == after for before, after in pairs),
        reroutes=sum(before != after for before, after in pairs),
        error=run.error,
        category=run.error_category,
    )
