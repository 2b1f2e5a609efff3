"""`browsers.core.units` for templates: {% load units %}, then {{ value|ms }}, |mb, |size or |number."""

from __future__ import annotations

from django import template

from browsers.core import units

register = template.Library()
register.filter("ms", units.milliseconds)
register.filter("mb", units.megabytes)
register.filter("size", units.size)
register.filter("number", units.number)
