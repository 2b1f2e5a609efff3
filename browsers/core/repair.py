"""The order of repairs for one browser: cheapest first, and never one that cannot help."""

from __future__ import annotations

from browsers.core.failures import Rung

LADDER = (Rung.PING, Rung.RESTART_ENGINE, Rung.RECONNECT, Rung.REFRESH, Rung.RESTART)


def next_rung(tried: Rung | None, hint: Rung | None) -> Rung | None:
    """The cheapest rung above the one tried last (None: none yet); None: there is no other.

    `hint` is the first rung that can help for the latest error: what failed under a gentle repair may say
    that only a rough one is of use. One that is no repair of the browser itself says nothing.
    """
    at = LADDER.index(tried) + 1 if tried is not None else 0
    if hint in LADDER:
        at = max(at, LADDER.index(hint))
    return LADDER[at] if at < len(LADDER) else None
