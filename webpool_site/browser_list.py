"""Which browsers to run: read `auto` or `chromium,firefox:2` against what is installed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from browsers.drivers import ALL_KINDS, Installation, Missing, find_all, get_driver
from inference.errors import WebpoolError

MOST_BROWSERS = 64


class BrowserListError(WebpoolError, ValueError):
    """The list names a kind there is not, or none that can run; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class BrowserSlot:
    """A browser to run: its id is the kind, or kind-2, kind-3 … for further ones."""

    id: str
    kind: str


def choose(text: str, *, home: Path | None = None) -> tuple[BrowserSlot, ...]:
    """The browsers that `text` asks for, in its order.

    `auto` is every installed kind once. A kind may carry a number: `firefox:2`. Raises
    `BrowserListError` for an unknown kind, a kind that is not installed, or an empty pool.
    """
    if text.strip() in ("", "auto"):
        found = find_all(home=home)
        kinds = [one.kind for one in found if isinstance(one, Installation)]
        if not kinds:
            missing = [one for one in found if isinstance(one, Missing) and not one.untried]
            remedies = [f"  {one.kind}: {one.remedy}" for one in missing]
            raise BrowserListError(
                "no browser is installed that webpool can drive. Install one of\n"
                + "\n".join(remedies)
            )
        return slots([(kind, 1) for kind in kinds])
    wanted = parse(text)
    for kind, _ in wanted:
        one = get_driver(kind, home=home).find()
        if isinstance(one, Missing):
            raise BrowserListError(f"{kind} cannot run here: {one.reason}. Remedy: {one.remedy}")
    return slots(wanted)


def parse(text: str) -> tuple[tuple[str, int], ...]:
    """`"chromium,firefox:2"` → `(("chromium", 1), ("firefox", 2))`."""
    wanted = []
    for part in text.split(","):
        kind, _, count = part.strip().partition(":")
        if kind not in ALL_KINDS:
            raise BrowserListError(
                f"unknown browser {kind!r}: expected auto, or some of {', '.join(ALL_KINDS)}, "
                "each with a number if it is not one, such as chromium,firefox:2"
            )
        if count and (not count.isdigit() or not 1 <= int(count) <= MOST_BROWSERS):
            raise BrowserListError(
                f"how many of {kind}? expected a number from 1 to {MOST_BROWSERS}, got {count!r}"
            )
        wanted.append((kind, int(count or 1)))
    return tuple(wanted)


def slots(wanted: Sequence[tuple[str, int]]) -> tuple[BrowserSlot, ...]:
    """Number the browsers of each kind; a kind named twice goes on counting."""
    counted: dict[str, int] = {}
    chosen = []
    for kind, count in wanted:
        for _ in range(count):
            counted[kind] = number = counted.get(kind, 0) + 1
            chosen.append(BrowserSlot(id=kind if number == 1 else f"{kind}-{number}", kind=kind))
    return tuple(chosen)
