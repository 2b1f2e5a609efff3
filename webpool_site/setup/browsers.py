"""Which browsers this machine can run after the set-up, and what it would take to have the others."""

from __future__ import annotations

from pathlib import Path

from browsers.drivers import DriverError, Installation, Missing, find_all, firefox_cache, get_driver
from webpool_site.setup.step import SetupError

# What the set-up knows how to bring; `manage.py doctor` lists every kind.
INSTALLABLE = ("chromium", "chromium-npm", "firefox", "webkitgtk")


def report(home: Path) -> str:
    """Look for every kind; npm's Chromium is unpacked by the look. Raises when none can run.

    Firefox is started once, for what shortens its later starts.
    """
    found = find_all(home=home)
    here = [f"{one.kind} {one.version}" for one in found if isinstance(one, Installation)]
    lines = [
        f"not here: {one.kind}: {one.reason}; {one.remedy}"
        for one in found
        if isinstance(one, Missing) and one.kind in INSTALLABLE
    ]
    if not here:
        raise SetupError("\n".join(["no browser can be run here", *lines]))
    for one in found:
        if isinstance(one, Installation) and one.kind == "firefox" and one.browser_path:
            lines += _first_start_of_firefox(home, one.browser_path)
    return "\n".join([", ".join(here), *lines])


def _first_start_of_firefox(home: Path, browser: Path) -> list[str]:
    """What hindered it: without it, each start of Firefox takes longer, and no more than that."""
    try:
        firefox_cache.make(get_driver("firefox", home=home), browser, home)
    except (DriverError, OSError) as error:
        return [f"firefox: its starts will take longer, since its first one failed: {error}"]
    return []
