"""What each rung of the ladder achieved: attempts, successes and durations, from the incidents."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from typing import Any

from browsers.core.quantiles import quantiles
from browsers.models import Incident

# The latest incidents tell how the ladder does today; older ones were of other builds and settings.
LATEST = 10_000


def rung_statistics(latest: int = LATEST) -> list[dict[str, Any]]:
    """Per rung, family and error category, over the `latest` repairs that were tried.

    `attempts` with a known outcome, how many of them made the browser healthy, how many have none recorded
    (`unknown`), and the durations of all.
    """
    tried = Incident.objects.exclude(rung="").order_by("-pk")
    grouped: dict[tuple[str, str, str], list[tuple[bool | None, float | None]]] = defaultdict(list)
    for rung, family, category, repaired, duration_ms in tried.values_list(
        "rung", "browser__family", "category", "repaired", "duration_ms"
    )[:latest]:
        grouped[rung, family, category].append((repaired, duration_ms))
    return [_row(key, grouped[key]) for key in sorted(grouped)]


def _row(key: tuple[str, str, str], seen: list[tuple[bool | None, float | None]]) -> dict[str, Any]:
    rung, family, category = key
    durations = quantiles([ms for _, ms in seen if ms is not None])
    return {
        "rung": rung,
        "family": family,
        "category": category,
        "attempts": sum(repaired is not None for repaired, _ in seen),
        "successes": sum(repaired is True for repaired, _ in seen),
        "unknown": sum(repaired is None for repaired, _ in seen),
        "durations": dataclasses.asdict(durations),
    }
