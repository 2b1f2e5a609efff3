"""Whose job is done now: as many at once as there are places, and one of each owner, or few.

1. Whoever lets a caller in says on whose behalf all that follows is done (`on_behalf_of`).
2. Of the owners that wait for a place the one that was served longest ago is next (`core/turns.py`): one
   owner's jobs queue behind one another, and hold up nobody else.
3. An owner who has too many waiting is refused.

As for quotas, only keys and people are told apart (`core/tenants.py`): jobs of nobody in particular, those of
commands and workers among them, take whatever places are free.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Final

from inference.core.tenants import is_counted
from inference.core.turns import Turns
from inference.errors import Busy

AT_ONCE: Final = max(2, os.cpu_count() or 1)
MOST_WAITING: Final = 4
"""Of one owner, for one kind of place; each of them holds a thread of the server."""
_COME_BACK_S: Final = 5.0
Owner = str | Callable[[], str]
_owner: ContextVar[Owner] = ContextVar("webpool_sandbox_owner", default="")


@contextlib.contextmanager
def on_behalf_of(owner: Owner) -> Iterator[None]:
    """What is done inside, in this thread or task, is this owner's; one that is a function is asked late."""
    before = _owner.set(owner)
    try:
        yield
    finally:
        _owner.reset(before)


def speak_for(owner: Owner) -> None:
    """As `on_behalf_of`, to the end of the task that calls."""
    _owner.set(owner)


class Places:
    """Some places for jobs of one kind.

    Args:
        what: the jobs, for the refusal.
        count: so many at once; `each`: so many of one owner.
        most_waiting: of one owner; None: any number.
    """

    def __init__(
        self,
        what: str,
        count: int = AT_ONCE,
        *,
        each: int = 1,
        most_waiting: int | None = MOST_WAITING,
    ) -> None:
        self._what, self._each, self._most_waiting = what, each, most_waiting
        self._changed = threading.Condition()
        self._free = count
        self._served: Counter[str] = Counter()
        self._waiting: dict[str, deque[object]] = {}
        self._turns = Turns()

    @contextlib.contextmanager
    def taken(self, *, admitted: bool = False) -> Iterator[None]:
        """Wait for a place, and hold it; `admitted`: whoever has begun is not refused in the middle.

        Raises:
            Busy: as many jobs of the owner wait as may.
        """
        said = _owner.get()
        owner = said if isinstance(said, str) else said()
        self._take(owner, admitted)
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._served[owner] -= 1
                self._changed.notify_all()

    def _take(self, owner: str, admitted: bool) -> None:
        ticket = object()
        with self._changed:
            if not admitted:
                self._check(owner)
            self._waiting.setdefault(owner, deque()).append(ticket)
            try:
                self._changed.wait_for(lambda: self._is_next(owner, ticket))
                self._turns.note(owner)
                self._free -= 1
                self._served[owner] += 1
            finally:
                self._waiting[owner].remove(ticket)
                if not self._waiting[owner]:
                    del self._waiting[owner]
                self._changed.notify_all()

    def _check(self, owner: str) -> None:
        waiting = len(self._waiting.get(owner, ()))
        if self._most_waiting is None or not is_counted(owner) or waiting < self._most_waiting:
            return
        raise Busy(
            f"{waiting} of {owner} wait already to have {self._what}, which is done for {self._each} of each "
            f"owner at a time; expected at most {self._most_waiting} that wait: send it again later",
            retry_after_s=_COME_BACK_S,
        )

    def _is_next(self, owner: str, ticket: object) -> bool:
        may = [
            one for one in self._waiting if not is_counted(one) or self._served[one] < self._each
        ]
        if not self._free or owner not in may or self._waiting[owner][0] is not ticket:
            return False
        return self._turns.next_of(may) == owner
