"""`{{ value|number:"ms" }}`: a measured value as people read it, with its unit."""

from __future__ import annotations

from django import template

from history import numbers

register = template.Library()
register.filter("number", numbers.number)
