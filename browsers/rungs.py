"""What each rung of the ladder achieved: attempts, successes and durations, from the incidents."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from typing import Any, NamedTuple

from browsers.core.quantiles import quantiles
from browsers.models import Incident

# The latest incidents tell how the ladder does today; older ones were of other builds and settings.
LATEST = 10_000


def rung_statistics(latest: int = LATEST) -> list[dict[str, Any]]:
    """Per rung, family and error category, over the `latest` repairs that were tried.

    `attempts` with a known outcome, how many of them made the browser healthy, how many have none recorded
    (`unknown`), the durations of all, and how much memory they gave back together, where that was measured.
    """
    tried = Incident.objects.exclude(rung="").order_by("-pk")
    grouped: dict[tuple[str, str, str], list[_Tried]] = defaultdict(list)
    for rung, family, category, repaired, duration_ms, reclaimed_mb in tried.values_list(
        "rung", "browser__family", "category", "repaired", "duration_ms", "reclaimed_mb"
    )[:latest]:
        grouped[rung, family, category].append(_Tried(repaired, duration_ms, reclaimed_mb))
    return [_row(key, grouped[key]) for key in sorted(grouped)]


class _Tried(NamedTuple):
    repaired: bool | None
    duration_ms: float | None
    reclaimed_mb: float | None


def _row(key: tuple[str, str, str], seen: list[_Tried]) -> dict[str, Any]:
    rung, family, category = key
    durations = quantiles([one.duration_ms for one in seen if one.duration_ms is not None])
    reclaimed = [one.reclaimed_mb for one in seen if one.reclaimed_mb is not None]
    return {
        "rung": rung,
        "family": family,
        "category": category,
        "attempts": sum(one.repaired is not None for one in seen),
        "successes": sum(one.repaired is True for one in seen),
        "unknown": sum(one.repaired is None for one in seen),
        "reclaimed_mb": sum(reclaimed) if reclaimed else None,
        "durations": dataclasses.asdict(durations),
    }
