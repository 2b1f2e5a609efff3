"""Every browser of the pool for telemetry: its row, and what its worker says of it now."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from browsers.models import Browser
from browsers.state.live import LiveBrowser


def connection_facts(
    living: Mapping[str, LiveBrowser] | None, now_s: float
) -> list[dict[str, Any]]:
    """One entry per browser, in order of id. `living` None: Redis does not answer, live facts are null.

    `lease_age_s` is the time since the worker last spoke (Unix time `now_s`); null without a lease.
    """
    return [_connection(row, (living or {}).get(row.pk), living is None, now_s) for row in _rows()]


def _rows() -> list[Browser]:
    return list(Browser.objects.order_by("pk"))


def _connection(
    row: Browser, live: LiveBrowser | None, unknown: bool, now_s: float
) -> dict[str, Any]:
    return {
        "id": row.pk,
        "kind": row.kind,
        "family": row.family,
        "state": live.state if live else row.state,
        "reason": row.reason,
        "connected": None if unknown else live is not None,
        "lease_age_s": max(0.0, now_s - live.heartbeat) if live else None,
        "idle": live.idle_since is not None if live else None,
        "version": row.version or None,
        "driver_version": row.driver_version or None,
        "host": row.host or None,
        "zone": row.zone or None,
        "backends": [dataclasses.asdict(item) for item in live.backends] if live else None,
        "memory_mb": live.memory_mb if live else None,
        "page_mb": live.page_mb if live else None,
        "js_heap_mb": live.js_heap_mb if live else None,
        "memory_limit_mb": row.memory_limit_mb,
        "short_of_memory": live.short_of_memory if live else None,
        "resident_bytes": live.resident_bytes if live else None,
        "starts": row.starts,
        "restarts": max(0, row.starts - 1),
        "repairs": row.repairs,
        "state_changed_at": row.state_changed_at,
    }


def resident_models(
    living: Mapping[str, LiveBrowser], names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """What is loaded where. `names` tells which model or shard a file is, null where nobody knows."""
    return [
        {"browser": browser, **model}
        for browser, live in sorted(living.items())
        for model in loaded_models(live, names)
    ]


def loaded_models(live: LiveBrowser, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """What is loaded in one browser; `names` as in `resident_models`."""
    return [
        {
            "sha256": sha256,
            "name": names.get(sha256),
            "backend": model.backend,
            "bytes": model.bytes,
            "compute_ms": model.compute_ms,
            "leak_mb": model.leak_mb,
            "known_answer": model.known_answer,
            "confirmed_at": model.confirmed_at,
        }
        for sha256, model in sorted(live.loaded.items())
    ]
