"""Every legal move of a run and of its steps: the two tables below are the whole life of both.

A run is `running` until it ends, once. A step, a shard or a join, goes this way when nothing happens:

    waiting ─queue→ queued ─claim→ running ─finish→ done

`take` claims it on a message that was sent for another, because its tenant's turn has come.

Where no browser takes it, it is `ready` in between (`hold`), until one does (`queue`). What goes wrong leads
back: from queued (`recall`) or running (`give_up`, `ask`) to ready, for a join to queued (`resend`). It ends
early as failed (`fail`) or, from any open state, as cancelled (`cancel`).

The **fence** is a number in the step's row. A message to a browser carries it, and whoever claims a step, or
writes down what became of it, must hold the fence that the row has then: else nothing is changed. A move
that takes a step away from whoever may hold it raises the fence, so that a late message and a late answer
count for nothing. Only `cancel` asks for no fence: it is meant for whoever holds the step.

States that no move leaves are the end. `store.step_moves` and `store.run_moves` alone write states, and the
condition of each UPDATE comes from here.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar


class RunState(enum.StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepState(enum.StrEnum):
    """Where a step stands: `waiting` for what it depends on, `ready` without a browser, …"""

    WAITING = "waiting"
    READY = "ready"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


S = TypeVar("S", RunState, StepState)


@dataclass(frozen=True)
class Move(Generic[S]):
    """One kind of change of a state.

    Attributes:
        name: the name of the function that writes it.
        before: the states it may start from; in any other it changes nothing.
        after: the state it leads to.
        fenced: whether it is refused when the row's fence is not the one its caller holds.
        raises_fence: whether the row's fence is one higher afterwards.
        needs: what else must hold.
    """

    name: str
    before: tuple[S, ...]
    after: S
    needs: str
    fenced: bool = True
    raises_fence: bool = False


@dataclass(frozen=True)
class Lifecycle(Generic[S]):
    """What a row starts as, and every move that it may make."""

    initial: S
    moves: tuple[Move[S], ...]

    @property
    def open(self) -> tuple[S, ...]:
        """The states that some move leaves, in order of their declaration."""
        left = {state for move in self.moves for state in move.before}
        return tuple(state for state in type(self.initial) if state in left)

    @property
    def ended(self) -> tuple[S, ...]:
        """The states that nothing leaves."""
        return tuple(state for state in type(self.initial) if state not in self.open)

    def between(self, before: S, after: S, *, fence_raised_by: int = 0) -> Sequence[Move[S]]:
        """The moves that lead from one state to another and change the fence so; empty: it is illegal."""
        return [
            move
            for move in self.moves
            if before in move.before
            and after == move.after
            and fence_raised_by == int(move.raises_fence)
        ]


_OPEN: Final = (StepState.WAITING, StepState.READY, StepState.QUEUED, StepState.RUNNING)

QUEUE: Final = Move(
    "queue",
    (StepState.WAITING, StepState.READY),
    StepState.QUEUED,
    "all that it depends on is done, and, if it is a shard, a browser was chosen",
    raises_fence=True,
)
HOLD: Final = Move(
    "hold",
    (StepState.WAITING, StepState.READY),
    StepState.READY,
    "all that it depends on is done, and no browser takes it now",
)
CLAIM: Final = Move(
    "claim",
    (StepState.QUEUED,),
    StepState.RUNNING,
    "the run's deadline has not passed, and nobody quarantined its browser; it counts as an attempt",
)
TAKE: Final = Move(
    "take",
    (StepState.QUEUED,),
    StepState.RUNNING,
    "as for claim, and its tenant's turn has come: the message was sent for another step",
    raises_fence=True,
)
FINISH: Final = Move("finish", (StepState.RUNNING,), StepState.DONE, "what it computed is stored")
ASK: Final = Move(
    "ask",
    (StepState.RUNNING,),
    StepState.READY,
    "its answer is kept beside it, and another browser is asked to confirm it",
    raises_fence=True,
)
GIVE_UP: Final = Move(
    "give_up",
    (StepState.RUNNING,),
    StepState.READY,
    "the attempt failed or was lost, and another is allowed",
    raises_fence=True,
)
RECALL: Final = Move(
    "recall",
    (StepState.QUEUED, StepState.READY),
    StepState.READY,
    "its message is lost, its browser is gone or drained, or it has none: it is placed anew",
    raises_fence=True,
)
RESEND: Final = Move(
    "resend",
    (StepState.QUEUED, StepState.RUNNING),
    StepState.QUEUED,
    "it is a join whose message or worker is gone",
    raises_fence=True,
)
FAIL: Final = Move("fail", (StepState.RUNNING,), StepState.FAILED, "no further attempt is allowed")
CANCEL: Final = Move(
    "cancel",
    _OPEN,
    StepState.CANCELLED,
    "its run has ended without an answer, or its other copy is done",
    fenced=False,
    raises_fence=True,
)

STEP: Final = Lifecycle(
    StepState.WAITING,
    (QUEUE, HOLD, CLAIM, TAKE, FINISH, ASK, GIVE_UP, RECALL, RESEND, FAIL, CANCEL),
)

RUN_SUCCEED: Final = Move(
    "succeed",
    (RunState.RUNNING,),
    RunState.SUCCEEDED,
    "of each step one copy is done",
    fenced=False,
)
RUN_FAIL: Final = Move(
    "fail",
    (RunState.RUNNING,),
    RunState.FAILED,
    "a step failed for good, no browser can take one, or the deadline has passed",
    fenced=False,
)
RUN_CANCEL: Final = Move(
    "cancel", (RunState.RUNNING,), RunState.CANCELLED, "nobody wants its answer", fenced=False
)

RUN: Final = Lifecycle(RunState.RUNNING, (RUN_SUCCEED, RUN_FAIL, RUN_CANCEL))

# A browser has the step or will get it.
UNDER_WAY: Final = (StepState.QUEUED, StepState.RUNNING)
