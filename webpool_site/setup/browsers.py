"""Which browsers this machine can run after the set-up, and what it would take to have the others."""

from __future__ import annotations

from pathlib import Path

from browsers.drivers import Installation, Missing, find_all
from webpool_site.setup.step import SetupError

# What the set-up knows how to bring; `manage.py doctor` lists every kind.
INSTALLABLE = ("chromium", "chromium-npm", "firefox", "webkitgtk")


def report(home: Path) -> str:
    """Look for every kind; npm's Chromium is unpacked by the look. Raises when none can run."""
    found = find_all(home=home)
    here = [f"{one.kind} {one.version}" for one in found if isinstance(one, Installation)]
    lines = [
        f"not here: {one.kind}: {one.reason}; {one.remedy}"
        for one in found
        if isinstance(one, Missing) and one.kind in INSTALLABLE
    ]
    if not here:
        raise SetupError("\n".join(["no browser can be run here", *lines]))
    return "\n".join([", ".join(here), *lines])
