"""What becomes of what a stage gives: taken, compared with what stands there, or owed by a standby.

A standby may come further than the browser that has its stage. What it gives then is kept here, until that
browser gives the same, or the stage is the standby's.
"""

from __future__ import annotations

import time
from typing import Final

from browsers.core.failures import Category
from inference.core.generation import control
from inference.core.generation.lead import Lead
from inference.generation import scripts, streams
from inference.generation.scripts import Call
from inference.generation.streams import Appended, Said
from inference.generation.takeover.comparing import is_same

LOOK_AGAIN_S: Final = 0.05
"""So often a standby asks whether its stage has given what it waits for."""
SAY_EVERY_S: Final = 1.0
OTHERWISE: Final = (
    "stage {} gave something else than the browser that had it before, after input {}"
)


class Lost(Exception):
    """The stage cannot go on here; somebody else replays it."""

    def __init__(self, category: Category, why: str) -> None:
        super().__init__(why)
        self.category = category


class Closed(Exception):
    """Nobody wants the stage here any more."""


class Outcomes:
    """Of what one stage gives in one browser, on that backend."""

    def __init__(self, session: str, index: int, epoch: int, backend: str) -> None:
        self._session, self._index, self._epoch, self._backend = session, index, epoch, backend
        self._owed: Call | None = None  # computed before the browser that has the stage did
        self._lead = Lead()  # for how long it waits for that
        self._settled = self._said = float("-inf")

    @property
    def owes(self) -> bool:
        """Whether something waits until the browser that has the stage comes so far."""
        return self._owed is not None

    @property
    def is_due(self) -> bool:
        """Whether it is owed, and was not asked about for a moment."""
        return self.owes and time.monotonic() - self._settled >= LOOK_AGAIN_S

    def judge(self, appended: Appended, call: Call, cursor: str) -> None:
        """What the store said of what the stage gave; `cursor`: the stage's last input, for messages.

        Raises:
            Lost: it must be replayed elsewhere.
            Closed: nobody wants it.
        """
        match appended.said:
            case Said.NEW:
                return
            case Said.FOLLOWS:
                if call.script != scripts.STANDS:
                    self._owed = call
                    self._lead.look(time.monotonic())
            case Said.HAD:
                self._lead.end(time.monotonic())
                if not is_same(appended.had, call.args[streams.GIVEN], self._backend):
                    raise Lost(Category.WRONG_ANSWER, OTHERWISE.format(self._index, cursor))
            case Said.STALE | Said.ENDED:
                raise Closed
            case Said.GONE:
                raise Lost(Category.TENSOR_LOST, "the store has lost the session")
            case Said.GAP:
                raise Lost(Category.INTERNAL, "a later step was passed on already")

    def settle(self, position: int, cursor: str) -> None:
        """Compare what nobody had given yet when it was computed, or give it; else it is still owed.

        The control worker is told when it is so for longer than ever: the stage may stand still.
        `position`: up to where the stage was computed.

        Raises:
            Lost, Closed: as `judge`.
            RedisError: the store does not answer; it is owed still.
        """
        if self._owed is None:
            return
        call = self._owed
        appended = streams.appended(scripts.run(call))
        self._owed = None
        self.judge(appended, call, cursor)
        self._settled = now = time.monotonic()
        if self.owes and self._lead.is_too_long and now - self._said >= SAY_EVERY_S:
            seconds = self._lead.waits_s
            streams.tell_control(
                control.Ahead(self._session, self._index, self._epoch, position, seconds)
            )
            self._said = now
