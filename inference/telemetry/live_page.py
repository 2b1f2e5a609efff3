"""The pool as the admin's live page shows it; what nobody knows is None and is written `unknown`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta

from browsers import clock
from browsers.connections import connection_facts
from browsers.models import Browser, BrowserState, DrainKind, Incident
from browsers.state.breakers import describe
from browsers.state.glance import breakers_or_unknown, living_or_unknown, shown_state
from browsers.state.live import LiveBrowser, living
from inference.core.lifecycle import UNDER_WAY
from inference.documents import JsonObject
from inference.models import OnnxModel, Run, RunState, RunStep, StepState
from inference.wire.serializers.browsers import file_names

_INCIDENTS = 12
_RUNS = 10
# An older repair says nothing of how a browser is now.
_RECENT = timedelta(hours=1)


def pool_now() -> JsonObject:
    """Template context: `browsers`, `incidents`, `runs`, counts of models and active runs."""
    now = clock.now()
    known = living_or_unknown()
    rows = {row.pk: row for row in Browser.objects.all()}
    names = file_names({sha for live in (known or {}).values() for sha in live.loaded})
    held = _held()
    repairs = _last_repairs(now - _RECENT)
    breakers = breakers_or_unknown(rows)
    browsers = []
    for facts in connection_facts(known, now.timestamp()):
        row = rows.get(facts["id"])
        if row is None:
            continue  # it is new: the next look has it
        live = (known or {}).get(row.pk)
        loaded = sorted(names.get(sha, sha[:12]) for sha in live.loaded) if live else None
        browsers.append(
            {
                **facts,
                "row": row,
                "shown_state": _shown(row, known),
                "loaded": loaded,
                "memory_percent": _percent(facts["memory_mb"], facts["memory_limit_mb"]),
                "breaker": describe(breakers[row.pk], now.timestamp()) if breakers else None,
                "repair": repairs.get(row.pk),
                "queued": held[row.pk][StepState.QUEUED],
                "running": held[row.pk][StepState.RUNNING],
            }
        )
    return {
        "browsers": browsers,
        "redis_unknown": known is None,
        "alarm": _alarm(known, rows.values()),
        "models": OnnxModel.objects.count(),
        "active": Run.objects.filter(state=RunState.RUNNING).count(),
        "waiting": RunStep.objects.outstanding(StepState.READY)
        .filter(run__state=RunState.RUNNING)
        .count(),
        "incidents": Incident.objects.select_related("browser")[:_INCIDENTS],
        "runs": Run.objects.select_related("model", "plan")[:_RUNS],
        "at": now,
    }


def alarm_now() -> str:
    """Why no browser takes work now; "": one does."""
    return _alarm(living_or_unknown(), Browser.objects.all())


def takes_work() -> set[str]:
    """Ids of the browsers on which new shards are placed.

    Raises:
        RedisError: Redis does not answer: nobody knows.
    """
    return {live.id for live in living().values() if live.state == BrowserState.READY}


def _alarm(living: Mapping[str, LiveBrowser] | None, rows: Iterable[Browser]) -> str:
    if living is None:
        return "Redis does not answer: nobody knows which browsers live, and no run goes on."
    if any(live.state == BrowserState.READY for live in living.values()):
        return ""
    states = Counter(_shown(row, living) for row in rows)
    listed = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return (
        f"No browser takes work ({listed or 'none has ever started'}): runs wait until one does, or fail at "
        "their deadlines."
    )


def _shown(row: Browser, living: Mapping[str, LiveBrowser] | None) -> str:
    return DrainKind.QUARANTINED.label if row.quarantined else shown_state(row, living)


def _held() -> defaultdict[str, Counter[str]]:
    """Shards queued and running, per browser."""
    held: defaultdict[str, Counter[str]] = defaultdict(Counter)
    rows = RunStep.objects.outstanding(*UNDER_WAY).order_by()
    for browser, state in rows.values_list("browser", "state"):
        held[browser][state] += 1
    return held


def _last_repairs(since: object) -> dict[str, Incident]:
    """The latest rung that was tried, per browser."""
    latest: dict[str, Incident] = {}
    tried = Incident.objects.filter(at__gt=since).exclude(rung="").order_by("-pk")[:500]
    for incident in tried:
        latest.setdefault(incident.browser_id, incident)
    return latest


def _percent(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else min(100.0, 100 * part / whole)
