"""The live pool on the admin's first page."""

from __future__ import annotations

import time
from typing import Any

from django import template

from browsers.glance import living_or_unknown
from browsers.models import Browser
from inference.models import OnnxModel, Run, RunState

register = template.Library()


@register.inclusion_tag("inference/pool.html")
def live_pool() -> dict[str, Any]:
    """Browsers with what their workers say now, and the latest runs."""
    alive, now = living_or_unknown(), time.time()
    browsers = []
    for row in Browser.objects.all():
        live = (alive or {}).get(row.pk)
        browsers.append(
            {
                "row": row,
                "live": live,
                "state": live.state if live else row.state,
                "backends": ", ".join(b.name for b in live.backends) if live else "",
                "age_s": max(0.0, now - live.heartbeat) if live else None,
            }
        )
    return {
        "browsers": browsers,
        "unknown": alive is None,
        "models": OnnxModel.objects.count(),
        "active": Run.objects.filter(state=RunState.RUNNING).count(),
        "runs": Run.objects.select_related("model", "plan")[:10],
    }
