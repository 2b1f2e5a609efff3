"""The order of repairs for one browser: cheapest first (SPEC R2, its simplest form)."""

from __future__ import annotations

from browsers.core.errors import Rung

LADDER = (Rung.PING, Rung.RESTART_ENGINE, Rung.RECONNECT, Rung.REFRESH, Rung.RESTART)


def rungs_from(first: Rung | None) -> tuple[Rung, ...]:
    """The rungs to climb, from the first that can help for the error; None starts at the bottom."""
    return LADDER[LADDER.index(first) :] if first in LADDER else LADDER
