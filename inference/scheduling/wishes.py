"""What a caller asks of the pool, as placement wants it, and whether the pool has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from browsers.core.naming import means
from inference.core.placement import BrowserView, Pin, Wishes
from inference.errors import InvalidRequest, UnknownBrowser
from inference.models import Run

PLATFORMS = ("webnn", "webgpu", "wasm")


def check_wishes(
    browsers: Sequence[str], platform: str, pins: Mapping[int, str], pool: Sequence[BrowserView]
) -> None:
    """Refuse names that mean nothing in this pool.

    Raises:
        UnknownBrowser: no such id, kind or family.
        InvalidRequest: no such platform.
    """
    wishes = wishes_from(browsers, platform, pins)
    for wish in (*browsers, *(pin.browser for pin in wishes.pins.values() if pin.browser)):
        if pool and not any(means(wish, browser) for browser in pool):
            have = ", ".join(browser.id for browser in pool)
            raise UnknownBrowser(f"no browser of the pool is named {wish!r}; the pool has {have}")
    for wanted in (platform, *(pin.platform for pin in wishes.pins.values())):
        if wanted and wanted not in PLATFORMS:
            raise InvalidRequest(f"platform {wanted!r}: expected one of {', '.join(PLATFORMS)}")


def wishes_from(
    browsers: Sequence[str],
    platform: str,
    pins: Mapping[int, str] | Mapping[str, str],
    *,
    critical: bool = False,
) -> Wishes:
    """The caller's words as placement wants them; a pin is "browser", "browser/platform", "/platform"."""
    parsed = {}
    for index, wish in pins.items():
        browser, _, pinned_platform = wish.partition("/")
        parsed[int(index)] = Pin(browser, pinned_platform)
    return Wishes(tuple(browsers), platform, parsed, critical)


def asked_of(run: Run) -> Wishes:
    """What the run's caller asked for."""
    return wishes_from(run.browsers, run.platform, run.pins, critical=run.critical)
