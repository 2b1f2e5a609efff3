"""The live pool on the admin's first page, and on every page whether no browser takes work."""

from __future__ import annotations

from django import template

from inference.documents import JsonObject
from inference.telemetry.last_hour import pictures
from inference.telemetry.live_page import alarm_now, pool_now

register = template.Library()


@register.inclusion_tag("inference/pool.html")
def live_pool() -> JsonObject:
    """Browsers with what their workers say now, incidents and runs."""
    return pool_now()


@register.inclusion_tag("inference/hour.html")
def last_hour() -> JsonObject:
    """Throughput, latency and health, drawn."""
    return pictures()


@register.inclusion_tag("inference/banner.html")
def pool_banner() -> JsonObject:
    """What an operator must know wherever they are: that no browser takes work."""
    return {"alarm": alarm_now()}
