"""The one writer of steps' states: a function for each move of `core.lifecycle.STEP`, named as there.

Each writes under the condition that the table gives: the state it may start from and, where the move asks for
it, the fence that the caller's row carries. 0 rows, which is False or None here: somebody else was
first, a normal answer. A row that was moved is set as it was written.

`queue` and `hold` only set the row: a new run's rows are inserted so, and `save_placed` writes rows that are
there already. Statements belong into the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db.models import F, QuerySet

from inference.core.lifecycle import (
    ASK,
    CANCEL,
    CLAIM,
    FAIL,
    FINISH,
    GIVE_UP,
    HOLD,
    QUEUE,
    RECALL,
    RESEND,
    TAKE,
    Move,
    StepState,
)
from inference.documents import JsonView
from inference.models import RunStep
from inference.store import doubts
from inference.store.doubts import Doubt
from inference.store.sql.statements import Condition, Select, Update, condition_sql, read_sql

_RAISED = "fence + 1"


def _change(move: Move[StepState]) -> dict[str, str | None]:
    fence: dict[str, str | None] = {"fence": _RAISED} if move.raises_fence else {}
    return {"state": f"'{move.after}'", **fence}


def _where(move: Move[StepState]) -> dict[str, Condition]:
    fence: dict[str, Condition] = {"fence": None} if move.fenced else {}
    return {"id": None, **fence, "state": move.before}


def _update(move: Move[StepState], **more: str | None) -> Update:
    return Update(RunStep, {**_change(move), **more}, _where(move))


def _claim(move: Move[StepState]) -> Select[RunStep]:
    where = [f"{name} {condition_sql(value)}" for name, value in _where(move).items()]
    change = [f"{name} = {value}" for name, value in _change(move).items()]
    template = read_sql("claim").replace("{set}", ", ".join(change))
    sql = template.replace("{where}", " AND ".join(where))
    return Select(RunStep, ("claimed_at", "id", "fence", "claimed_at"), sql=sql)


_QUEUE = _update(QUEUE, browser=None, avoid=None, ready_at=None, queued_at=None)
_HOLD = _update(HOLD, browser="''", avoid=None, ready_at=None)
_CLAIM, _TAKE = _claim(CLAIM), _claim(TAKE)
_FINISH = _update(FINISH, outputs=None, finished_at=None)
_ASK = _update(ASK, browser="''", doubt=None)
_GIVE_UP = _update(GIVE_UP, browser="''")
_RECALL = _update(RECALL, browser="''")
_RESEND = _update(RESEND, queued_at=None)
_FAIL = _update(FAIL, finished_at=None)


def queue(step: RunStep, browser: str, now: datetime) -> None:
    """Set that a ready step goes to a browser; a join's is "". Not written yet."""
    _place(step, QUEUE, browser=browser, ready_at=step.ready_at or now, queued_at=now)


def hold(step: RunStep, now: datetime) -> None:
    """Set that a step is ready and no browser takes it now. Not written yet."""
    _place(step, HOLD, browser="", ready_at=step.ready_at or now)


def save_placed(steps: Sequence[RunStep]) -> list[RunStep]:
    """Write what `queue` and `hold` have set; returns the steps that had not moved on meanwhile."""
    return [step for step in steps if _save_placed(step)]


def _save_placed(step: RunStep) -> bool:
    values = {"id": step.pk, "avoid": step.avoid, "ready_at": step.ready_at}
    if step.state == HOLD.after:
        return bool(_HOLD(**values, fence=step.fence))
    before = step.fence - 1
    return bool(_QUEUE(**values, fence=before, browser=step.browser, queued_at=step.queued_at))


def claim(step_id: int, fence: int, now: datetime) -> RunStep | None:
    """Take a queued step, which counts the attempt.

    None also when its run's deadline has passed, or its browser is quarantined.
    """
    taken = _CLAIM(claimed_at=now, id=step_id, fence=fence)
    return taken[0] if taken else None


def take(step_id: int, fence: int, now: datetime) -> RunStep | None:
    """As `claim`, on a message that was sent for another step."""
    taken = _TAKE(claimed_at=now, id=step_id, fence=fence)
    return taken[0] if taken else None


def finish(step: RunStep, outputs: JsonView, now: datetime) -> bool:
    """`outputs`: by tensor, where it is stored."""
    if not _FINISH(outputs=outputs, finished_at=now, id=step.pk, fence=step.fence):
        return False
    _set(step, FINISH, outputs=outputs, finished_at=now)
    return True


def ask(step: RunStep, doubt: Doubt) -> bool:
    """Take the step from the browser that answered, whose answer is in `doubt`."""
    kept = doubts.to_json(doubt)
    if not _ASK(doubt=kept, id=step.pk, fence=step.fence):
        return False
    _set(step, ASK, browser="", doubt=kept)
    return True


def give_up(step: RunStep) -> bool:
    """End an attempt that others may follow."""
    return _take_back(step, GIVE_UP, _GIVE_UP)


def recall(step: RunStep) -> bool:
    """Take the step from where it waits."""
    return _take_back(step, RECALL, _RECALL)


def _take_back(step: RunStep, move: Move[StepState], update: Update) -> bool:
    if not update(id=step.pk, fence=step.fence):
        return False
    _set(step, move, browser="")
    return True


def resend(join: RunStep, now: datetime) -> bool:
    """Take a join from whoever does it or should have."""
    if not _RESEND(queued_at=now, id=join.pk, fence=join.fence):
        return False
    _set(join, RESEND, queued_at=now)
    return True


def fail(step: RunStep, now: datetime) -> bool:
    """End the step without an answer, after its last attempt."""
    if not _FAIL(finished_at=now, id=step.pk, fence=step.fence):
        return False
    _set(step, FAIL, finished_at=now)
    return True


def cancel(steps: QuerySet[RunStep], now: datetime) -> int:
    """End those of the steps that are open, whoever holds them; returns how many."""
    still_open = steps.filter(state__in=CANCEL.before)
    return still_open.update(state=CANCEL.after, fence=F("fence") + 1, finished_at=now)


def _place(step: RunStep, move: Move[StepState], **fields: object) -> None:
    if step.state not in move.before:
        states = " or ".join(move.before)
        raise ValueError(f"{step}: {move.name} needs a step that is {states}; it is {step.state}")
    _set(step, move, **fields)


def _set(step: RunStep, move: Move[StepState], **fields: object) -> None:
    step.state = move.after
    step.fence += int(move.raises_fence)
    for name, value in fields.items():
        setattr(step, name, value)
