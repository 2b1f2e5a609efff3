"""The live pool on the admin's first page."""

from __future__ import annotations

from typing import Any

from django import template

from inference.telemetry.live_page import pool_now

register = template.Library()


@register.inclusion_tag("inference/pool.html")
def live_pool() -> dict[str, Any]:
    """Browsers with what their workers say now, incidents and runs."""
    return pool_now()
