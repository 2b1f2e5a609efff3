"""Scenarios over strategies and browsers, each several times, beside runs that nobody hurts."""

from __future__ import annotations

import dataclasses
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from django.utils import timezone

from browsers.models import Incident
from browsers.state import breakers
from browsers.state.live import living
from inference.errors import InvalidRequest
from webpool_site.lab.faults.health import wait_whole
from webpool_site.lab.faults.injection import CannotInject
from webpool_site.lab.faults.scenarios import AGAIN, Scenario
from webpool_site.lab.faults.targets import NoTarget, Targets
from webpool_site.lab.faults.trial import Attack, Trial, ask
from webpool_site.lab.faults.work import Question

OWNER = "validate_faults"
HEAL_WITHIN_S = 120.0
# When, of the time that the first shard computes, the injection comes.
_EARLIEST, _LATEST = 0.1, 0.8
_TRIES_PER_HIT = 3


@dataclasses.dataclass(frozen=True)
class Case:
    """A scenario, on a browser, with a strategy; with or without others that could take over."""

    scenario: Scenario
    browser: str
    strategy: str
    standby: bool = True

    @property
    def name(self) -> str:
        alone = "" if self.standby else ", alone"
        return f"{self.scenario.name}, {self.strategy}, {self.browser}{alone}"


@dataclasses.dataclass(frozen=True)
class Result:
    """What a case came to: `not_applicable` says why nothing was tried.

    Attributes:
        undisturbed_ms: whole runs of the same question that nobody hurt, in the same session.
        healed_s: from the first injection until the pool was whole again, for each trial.
        repairs: what the browser's worker did about it: category, rung and whether that helped. Empty where
            its worker died too.
        orphans: processes that were hurt, or hung on one that was, and outlived the healing.
    """

    case: Case
    family: str
    not_applicable: str = ""
    undisturbed_ms: tuple[float, ...] = ()
    trials: tuple[Trial, ...] = ()
    healed_s: tuple[float, ...] = ()
    repairs: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()

    @property
    def hits(self) -> list[Trial]:
        return [trial for trial in self.trials if not trial.missed]

    @property
    def delays_ms(self) -> list[float]:
        """How much later than undisturbed the right answers came."""
        usual = statistics.median(self.undisturbed_ms) if self.undisturbed_ms else 0.0
        return [t.took_ms - usual for t in self.hits if t.right and t.took_ms is not None]


@dataclasses.dataclass(frozen=True)
class Campaign:
    """How often, on which pool. `random` decides when the injections come."""

    home: Path
    browsers: tuple[str, ...]
    question: Question
    trials: int
    random: random.Random
    say: Callable[[str], object]

    def results(self, cases: Sequence[Case]) -> Iterator[Result]:
        for case in cases:
            family = living()[case.browser].family
            if why := self._inapplicable(case):
                yield Result(case, family, not_applicable=why)
                continue
            yield self._result(case, family)
            self._wait_whole()

    def _inapplicable(self, case: Case) -> str:
        """Why there is nothing to try; asked while the pool is whole."""
        targets = Targets(self.home)
        try:
            for injection in case.scenario.injections:
                targets.find(injection.target, case.browser)
        except NoTarget as none:
            return str(none)
        platform = case.scenario.platform
        if platform not in {backend.name for backend in living()[case.browser].backends}:
            return f"{case.browser} has no {platform}"
        if (
            any(injection.whom == AGAIN for injection in case.scenario.injections)
            and not case.standby
        ):
            return "nobody takes over from a browser that is alone"
        return ""

    def _result(self, case: Case, family: str) -> Result:
        result = Result(case, family)
        how = self._how(case)
        try:
            self._warm(how)
        except InvalidRequest as refusal:
            return dataclasses.replace(result, not_applicable=str(refusal))
        for _ in range(self.trials * _TRIES_PER_HIT):
            usual = ask(self.question, **how)
            if usual.took_ms is not None and usual.right:
                result = dataclasses.replace(
                    result, undisturbed_ms=(*result.undisturbed_ms, usual.took_ms)
                )
            result = self._try(case, how, result, usual)
            self.say(_progress(result))
            if result.not_applicable or len(result.hits) >= self.trials:
                break
        return result

    def _try(self, case: Case, how: dict[str, Any], result: Result, usual: Trial) -> Result:
        attack = Attack(case.scenario, home=self.home, browser=case.browser)
        moment, before = self.random.uniform(_EARLIEST, _LATEST), timezone.now()
        try:
            trial = attack.run(self.question, after_s=moment * usual.first_ms / 1000, **how)
        except CannotInject as why:
            return dataclasses.replace(result, not_applicable=str(why))
        result = dataclasses.replace(result, trials=(*result.trials, trial))
        if not attack.began:
            return result
        left = attack.left(timeout_s=HEAL_WITHIN_S)  # first: one that is dying still looks whole
        self._wait_whole()
        healed = time.monotonic() - attack.began
        self._warm(how)
        return dataclasses.replace(
            result,
            healed_s=(*result.healed_s, healed),
            repairs=(*result.repairs, *_repairs(case.browser, before)),
            orphans=(*result.orphans, *left),
        )

    def _how(self, case: Case) -> dict[str, Any]:
        others = self._able(case) if case.standby else ()
        how: dict[str, Any] = {
            "strategy": case.strategy,
            "browsers": (case.browser, *others),
            "platform": case.scenario.platform,
            "owner": OWNER,
        }
        if case.strategy in ("layer", "tensor", "data"):
            how["shards"] = 2
        return how

    def _able(self, case: Case) -> tuple[str, ...]:
        """The other browsers that have the scenario's backend."""
        has = {
            b.id
            for b in living().values()
            if case.scenario.platform in {x.name for x in b.backends}
        }
        return tuple(b for b in self.browsers if b in has and b != case.browser)

    def _warm(self, how: dict[str, Any]) -> None:
        """Let every browser that may compute do all of it once: it holds the files, and is trusted again."""
        for browser in how["browsers"]:
            ask(self.question, **{**how, "browsers": (browser,)})

    def _wait_whole(self) -> None:
        """Repaired, and trusted again: what the next injection costs is not told by the one before."""
        wait_whole(self.home, self.browsers, timeout_s=HEAL_WITHIN_S)
        for browser in self.browsers:
            breakers.reset(browser)


def _repairs(browser: str, since: datetime) -> list[str]:
    done = Incident.objects.filter(browser=browser, at__gte=since).order_by("at")
    return [f"{one.category}: {one.rung}{'' if one.repaired else ' in vain'}" for one in done]


def _progress(result: Result) -> str:
    last = result.trials[-1] if result.trials else None
    if last is None:
        return f"  {result.case.name}: {result.not_applicable}"
    if last.missed:
        return f"  {result.case.name}: missed, {last.missed}"
    right = "right" if last.right else f"NOT RIGHT: {last.state} {last.category} {last.error}"
    took = f"{last.took_ms:.0f} ms" if last.took_ms is not None else "no end"
    healed = f", whole again after {result.healed_s[-1]:.1f} s" if result.healed_s else ""
    return f"  {result.case.name}: {right}, {took}, {last.reroutes} moved{healed}"
