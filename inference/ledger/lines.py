"""What stands in line for a browser that is at something, and how long that takes, as far as it is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import F, QuerySet, Window
from django.db.models.functions import RowNumber

from browsers.state.live import LiveBrowser
from inference.core.placement import DEFAULT_TASK_MS
from inference.core.stealing import left_of, total
from inference.ledger import claims
from inference.models import RunStep, StepKind, StepState

_OF_EACH: Final = 256  # steps of a tenant, in each line, that are looked at
MS: Final = timedelta(milliseconds=1)


@dataclass(frozen=True)
class InLine:
    """A queued step; `ahead_ms`: how long what comes before it takes, None: not known."""

    step: RunStep
    ahead_ms: float | None


def lines(browsers: Mapping[str, LiveBrowser], now: datetime) -> Iterator[InLine]:
    """What waits for these browsers; of each the steps in the order in which they are taken.

    Tenants take turns (`inference.ledger.turns`): of each the first step, of each the second, and so on.
    """
    at_it = _running(browsers, now)
    ahead = {browser: total(at_it.get(browser, [None])) for browser in browsers}
    for step in _queued(browsers):
        claims.with_plan(step)
        yield InLine(step, ahead[step.browser])
        itself = _compute_ms(browsers[step.browser], step.plan_step.sha256)
        ahead[step.browser] = total((ahead[step.browser], itself))


def _running(browsers: Mapping[str, LiveBrowser], now: datetime) -> dict[str, list[float | None]]:
    """What each browser's running steps still take; a browser at something else is not there."""
    found: dict[str, list[float | None]] = defaultdict(list)
    rows = _steps(StepState.RUNNING, browsers).values_list(
        "browser", "plan_step__sha256", "claimed_at"
    )
    for browser, sha256, claimed_at in rows:
        elapsed_ms = (now - (claimed_at or now)) / MS
        found[browser].append(left_of(_compute_ms(browsers[browser], sha256), elapsed_ms))
    return found


def _compute_ms(browser: LiveBrowser, sha256: str) -> float | None:
    """As measured there; None: the file was not computed there yet, or is being loaded."""
    model = browser.loaded.get(sha256)
    if model is None or model.compute_ms is None:
        return None
    return model.compute_ms + DEFAULT_TASK_MS


def _queued(browsers: Collection[str]) -> QuerySet[RunStep]:
    turn = Window(
        RowNumber(), partition_by=[F("browser"), F("run__tenant")], order_by=["queued_at", "pk"]
    )
    steps = _steps(StepState.QUEUED, browsers).annotate(turn=turn).filter(turn__lte=_OF_EACH)
    return steps.select_related("run").order_by("turn", "queued_at", "pk")


def _steps(state: StepState, browsers: Collection[str]) -> QuerySet[RunStep]:
    return RunStep.objects.outstanding(state).filter(
        kind=StepKind.COMPUTE, browser__in=list(browsers)
    )
