"""In a process of the pool: functions replaced by ones that know nothing, while the bench wants it.

Until the first signal comes, nothing is other than in any pool.

Without breakers none is open, none hears of anything, and nobody looks whether one is; their bytes still come
with the browsers' live state, in the same round trip. Without history nothing is known of any model, and what
was measured waits in the ledger, whose rows of attempts are written all the same: they say where a run was
computed.
"""

from __future__ import annotations

import signal

from browsers.core.breaker import BreakerState
from browsers.core.breakers import Breakers
from browsers.state import breakers
from history import recompute
from inference.core.placement import Hints
from inference.scheduling import advice
from inference.store import outbox
from webpool_site.lab.bench.switches.points import Points
from webpool_site.lab.bench.switches.replacing import Switch
from webpool_site.lab.bench.switches.signals import BREAKERS, HISTORY, POINTS, SIGNALS


def switches() -> dict[str, Switch]:
    return {
        BREAKERS: Switch(
            [
                (Breakers, "state", lambda self, now: BreakerState.CLOSED),
                (Breakers, "blocked_models", lambda self, now, *, busy: frozenset()),
                (Breakers, "spotless", lambda self, sha256: True),
                (Breakers, "probing", lambda self, sha256, now: False),
                (breakers, "_change", lambda browser_id, decide: breakers.CLOSED),
            ]
        ),
        HISTORY: Switch(
            [
                (advice, "decides", lambda wishes, model: False),
                (advice._Published, "hints", lambda self, work_type, model: Hints()),
                (outbox, "hand_over", lambda: None),
                (recompute, "is_due", lambda: False),
            ]
        ),
    }


def listen() -> None:
    """Have this process, and those that are forked from it, heed `SIGNALS`."""
    for name, switch in switches().items():
        signal.signal(SIGNALS[name], switch.turn)
    signal.signal(SIGNALS[POINTS], Points().turn)
