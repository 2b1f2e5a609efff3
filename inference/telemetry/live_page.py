"""The pool as the admin's live page shows it; what nobody knows is None and is written `unknown`."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any

from django.utils import timezone

from browsers.connections import connection_facts
from browsers.models import Browser, Incident
from browsers.state.breakers import describe
from browsers.state.glance import breakers_or_unknown, living_or_unknown
from inference.models import OnnxModel, Run, RunShard, RunState, ShardState
from inference.wire.serializers.browsers import file_names

_INCIDENTS = 12
_RUNS = 10
# An older repair says nothing of how a browser is now.
_RECENT = timedelta(hours=1)


def pool_now() -> dict[str, Any]:
    """Template context: `browsers`, `incidents`, `runs`, counts of models and active runs."""
    now = timezone.now()
    living = living_or_unknown()
    rows = {row.pk: row for row in Browser.objects.all()}
    names = file_names({sha for live in (living or {}).values() for sha in live.loaded})
    held = _held()
    repairs = _last_repairs(now - _RECENT)
    breakers = breakers_or_unknown(rows)
    browsers = []
    for facts in connection_facts(living, now.timestamp()):
        row = rows.get(facts["id"])
        if row is None:
            continue  # it is new: the next look has it
        live = (living or {}).get(row.pk)
        loaded = sorted(names.get(sha, sha[:12]) for sha in live.loaded) if live else None
        browsers.append(
            {
                **facts,
                "row": row,
                "quarantined": row.quarantined,
                "loaded": loaded,
                "memory_percent": _percent(facts["memory_mb"], facts["memory_limit_mb"]),
                "breaker": describe(breakers[row.pk], now.timestamp()) if breakers else None,
                "repair": repairs.get(row.pk),
                "queued": held[row.pk][ShardState.QUEUED],
                "running": held[row.pk][ShardState.RUNNING],
            }
        )
    return {
        "browsers": browsers,
        "redis_unknown": living is None,
        "models": OnnxModel.objects.count(),
        "active": Run.objects.filter(state=RunState.RUNNING).count(),
        "waiting": RunShard.objects.filter(
            state=ShardState.READY, run__state=RunState.RUNNING
        ).count(),
        "incidents": Incident.objects.select_related("browser")[:_INCIDENTS],
        "runs": Run.objects.select_related("model", "plan")[:_RUNS],
        "at": now,
    }


def _held() -> defaultdict[str, Counter[str]]:
    """Shards queued and running, per browser."""
    held: defaultdict[str, Counter[str]] = defaultdict(Counter)
    open_states = [ShardState.QUEUED, ShardState.RUNNING]
    rows = RunShard.objects.filter(state__in=open_states).order_by()
    for browser, state in rows.values_list("browser", "state"):
        held[browser][state] += 1
    return held


def _last_repairs(since: Any) -> dict[str, Incident]:
    """The latest rung that was tried, per browser."""
    latest: dict[str, Incident] = {}
    tried = Incident.objects.filter(at__gt=since).exclude(rung="").order_by("-pk")[:500]
    for incident in tried:
        latest.setdefault(incident.browser_id, incident)
    return latest


def _percent(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else min(100.0, 100 * part / whole)
