"""Every address that the server has a page at, read from its own list of addresses."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib import admin
from django.urls import URLPattern, URLResolver, get_resolver, reverse

# What answers with no page for people: data, scripts, parts that a page asks for, and forms' targets.
_NO_PAGE = (
    r"api/(?!docs/).*|\^api/.*|metrics|admin/pool/(rows|hour|<str:browser_id>)/|admin/chat/sessions/.*"
    r"|admin/(autocomplete|jsi18n|logout|search)/|admin/r/.*|.*/now/"
    r"|admin/[a-z_]+/[a-z]+/<path:object_id>/"  # a way to the change form, which is there
)

# The admin lists the apps in the order in which their pages were imported first.
_APP = re.compile(r"\^\(\?P<app_label>[^)]*\)/\$")


@dataclasses.dataclass(frozen=True)
class Route:
    """A pattern of addresses, as Django writes it, and its name; "": it has none."""

    pattern: str
    name: str


def routes() -> list[Route]:
    """All that may answer with a page."""
    return [
        route for route in _walk(get_resolver(), "") if not re.fullmatch(_NO_PAGE, route.pattern)
    ]


def _walk(resolver: URLResolver, before: str) -> Iterator[Route]:
    for found in resolver.url_patterns:
        pattern = before + str(found.pattern)
        if isinstance(found, URLResolver):
            yield from _walk(found, pattern)
        elif isinstance(found, URLPattern):
            yield Route(_APP.sub("<str:app_label>/", pattern), found.name or "")


def addresses(route: Route, known: Mapping[str, list[str]]) -> list[str]:
    """Where to go for a route: what is known of it by its pattern, or the forms of a row of each table.

    Raises:
        AssertionError: the route has parameters, and nobody said with which to go there.
    """
    if route.pattern in known:
        return known[route.pattern]
    if "<" not in route.pattern:
        return [f"/{route.pattern}"]
    for model in admin.site._registry:
        kind = f"{model._meta.app_label}_{model._meta.model_name}_"
        if route.name.startswith(kind):
            row: Any = model._default_manager.first()
            assert row is not None, f"no row of {kind} to look at"
            return [reverse(f"admin:{route.name}", args=[row.pk])]
    raise AssertionError(f"nobody said how to come to {route.pattern}")
