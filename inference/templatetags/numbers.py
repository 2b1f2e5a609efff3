"""Measured values as people read them: {{ value|number:"ms" }}; |ms, |mb and |size choose the unit."""

from __future__ import annotations

from django import template

from webpool_site.telling import units

register = template.Library()
register.filter("number", units.number)
register.filter("ms", units.milliseconds)
register.filter("mb", units.megabytes)
register.filter("size", units.size)
