"""Telemetry of the whole pool in one document: what is known now, null where nobody knows.

REST, Prometheus, the command and the Python facade show this, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from browsers import clock
from browsers.connections import connection_facts, resident_models
from browsers.machine import machine_facts, redis_facts
from browsers.models import Browser
from browsers.queues import CONTROL_QUEUE, HISTORY_QUEUE, queue_of
from browsers.rungs import rung_statistics
from browsers.state.breakers import describe
from browsers.state.glance import breakers_or_unknown, living_or_unknown
from browsers.state.live import LiveBrowser
from history.models import HistoryState
from inference.documents import JsonObject
from inference.telemetry.ledger import counts, latency
from inference.wire.serializers.browsers import file_names


def telemetry(
    *, include_connections: bool = True, include_models: bool = True, now: datetime | None = None
) -> JsonObject:
    """The document; times are aware datetimes, durations and sizes have their unit in the name.

    `connections`: every browser. `breakers`: those of every browser. `models`: what is loaded where.
    Keys that were not asked for are left out.
    """
    now = now or clock.now()
    living = living_or_unknown()
    ids = list(Browser.objects.order_by("pk").values_list("pk", flat=True))
    queues = [CONTROL_QUEUE, HISTORY_QUEUE, *(queue_of(browser_id) for browser_id in ids)]
    document: JsonObject = {
        "at": now,
        "system": {**machine_facts(), "redis": redis_facts(queues)},
        "rungs": rung_statistics(),
        "breakers": _breakers(ids, now.timestamp()),
        **counts(),
        "latency": latency(now),
        "history": history_facts(now),
    }
    if include_connections:
        document["connections"] = connection_facts(living, now.timestamp())
    if include_models:
        document["models"] = _models(living)
    return document


def _breakers(browser_ids: Sequence[str], now: float) -> list[JsonObject] | None:
    known = breakers_or_unknown(browser_ids)
    if known is None:
        return None
    return [{"browser": key, **describe(found, now)} for key, found in sorted(known.items())]


def _models(living: Mapping[str, LiveBrowser] | None) -> list[JsonObject] | None:
    if living is None:
        return None
    files = {sha256 for live in living.values() for sha256 in live.loaded}
    return resident_models(living, file_names(files))


def history_facts(now: datetime) -> JsonObject:
    """How far history has come: its samples, and the age of what it tells."""
    state = HistoryState.objects.first()
    return {
        "samples": state.samples if state else None,
        "taken_age_s": _age_s(state.taken_at if state else None, now),
        "recomputed_age_s": _age_s(state.recomputed_at if state else None, now),
    }


def _age_s(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else max(0.0, (now - moment).total_seconds())
