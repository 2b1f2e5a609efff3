"""The browsers: what is installed, and what each said of itself when it last started."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError

from browsers import locations
from browsers.drivers import Installation, Missing, find_all
from webpool_site.doctor.finding import Finding, Level
from webpool_site.instance import Instance

if TYPE_CHECKING:
    from browsers.state.live import LiveBrowser

AREA = "browsers"


def findings(home: Path) -> Iterator[Finding]:
    found = find_all(home=home)
    for one in found:
        yield _installed(one) if isinstance(one, Installation) else _missing(one)
    if not any(isinstance(one, Installation) for one in found):
        yield Finding(AREA, "any", Level.BAD, "no browser can be run here", locations.SETUP)
    yield from _rows(home)


def _installed(one: Installation) -> Finding:
    driver = f", driver {one.driver_version}" if one.driver_version else ""
    where = f" ({one.browser_path})" if one.browser_path else ""
    return Finding(
        AREA,
        one.kind,
        Level.OK,
        f"{one.version}{driver}{where}",
        facts={
            "family": one.family,
            "version": one.version,
            "driver_version": one.driver_version,
            "browser_path": str(one.browser_path or ""),
            "driver_path": str(one.driver_path or ""),
        },
    )


def _missing(one: Missing) -> Finding:
    level = Level.UNTRIED if one.untried else Level.MISSING
    return Finding(AREA, one.kind, level, one.reason, one.remedy, {"family": one.family})


def _rows(home: Path) -> Iterator[Finding]:
    """What the browsers reported at their last start; `living` says whether one runs now."""
    from browsers.models import Browser

    try:
        rows = list(Browser.objects.all())
    except DatabaseError:
        return  # the services say what is wrong with it
    living = _living(home)
    for row in rows:
        if living is None:
            state = "unknown (Redis does not answer)"
        else:
            state = str(living[row.id].state) if row.id in living else "not running"
        for backend in row.backends:
            yield _backend(row.id, state, backend)


def _living(home: Path) -> Mapping[str, LiveBrowser] | None:
    """Who lives; None: not known. Without a pool the embedded server rests, and nobody lives."""
    from browsers.state.glance import living_or_unknown

    living = living_or_unknown()
    if living is None and not os.environ.get("WEBPOOL_REDIS_URL") and not Instance(home).running():
        return {}
    return living


def _backend(browser_id: str, state: str, backend: dict[str, Any]) -> Finding:
    facts = {"state": state, **backend}
    name = f"{browser_id} · {backend['name']}"
    if not backend.get("probe_ok"):
        reason = backend.get("error") or "not available"
        return Finding("backends", name, Level.MISSING, f"{state}; {reason}", facts=facts)
    software = backend.get("software")  # None: the backend has no adapter, or does not tell
    kind = "" if software is None else ", software" if software else ", hardware"
    adapter = f", {backend['adapter']}" if backend.get("adapter") else ""
    probe_ms = backend.get("probe_ms")
    took = f", known answer in {probe_ms:.1f} ms" if probe_ms is not None else ""
    text = f"{state}{kind}{adapter}{took}"
    return Finding("backends", name, Level.OK, text, facts=facts)
