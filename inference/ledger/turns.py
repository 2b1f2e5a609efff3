"""Which step a browser's worker takes when a message comes: that of the tenant whose turn it is.

Messages are first in, first out, and whoever sent hundreds would have all others wait. So a message is a
ticket: it brings its browser one step, its own or one of another tenant that waits for this browser. As many
messages as steps are sent, so each step is taken in the end. A step that is taken by another's message gets a
higher fence: its own message then names none, and is as good a ticket as any.

Within a tenant the order stays that in which steps were queued.
"""

from __future__ import annotations

import functools
from datetime import datetime

from django.db import connection

from inference.core.turns import Turns
from inference.ledger import claims
from inference.models import Run, RunStep
from inference.store.sql.running import rows
from inference.store.sql.statements import Select, read_sql

_RUN = Select(Run, ("id",))
# Each time somebody else may be faster: another worker that holds the browser's queue, a caller who cancels.
_TRIES = 3


def claim_next(
    browser_id: str, message: tuple[int, int], turns: Turns, now: datetime
) -> RunStep | None:
    """Take a step for the browser, on a message that names a step and its fence.

    None, a normal answer: nothing waits for it, or nothing that it may have.
    """
    for _ in range(_TRIES):
        waiting = _waiting(browser_id, message[0], now)
        if not waiting:
            return None
        tenant = turns.next_of(waiting)
        step_id, fence, run = waiting[tenant]
        step = claims.claim(step_id, fence, now, of=run, in_turn=(step_id, fence) != message)
        if step is not None:
            turns.note(tenant)
            return step
    return None


def _waiting(browser_id: str, step_id: int, now: datetime) -> dict[str, tuple[int, int, Run]]:
    """The step, with its fence and run, that each tenant has waiting longest."""
    deadline = connection.ops.adapt_datetimefield_value(now)
    found = [
        (step, fence, _RUN.instance(columns))
        for step, fence, *columns in rows(_next_sql(), [step_id, browser_id, deadline])
    ]
    return {run.tenant: (step, fence, run) for step, fence, run in found}


@functools.cache
def _next_sql() -> str:
    return read_sql("next_steps").replace("{columns}", _RUN.columns)
