"""What a caller may call a browser: its id, its kind or its family.

The first browser of a kind has the kind's name as its id, which names every one of that kind:
`chromium` is both browsers of `chromium:2`, `chromium-2` the second, and `chromium-1` the first alone.
"""

from __future__ import annotations

from typing import Protocol


class Named(Protocol):
    """A browser, as whoever looks at it knows it."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def family(self) -> str: ...


def means(wish: str, browser: Named) -> bool:
    """Whether the wish names this browser, and perhaps others."""
    return wish in (browser.id, browser.kind, browser.family, alone(browser.id, browser.kind))


def alone(browser: str, kind: str) -> str:
    """The name that means the browser with this id and no other."""
    return f"{kind}-1" if browser == kind else browser
