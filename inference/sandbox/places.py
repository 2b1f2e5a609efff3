"""Whose job is done now: as many at once as there are places, and one of each owner, or few.

1. Whoever lets a caller in says on whose behalf all that follows is done (`on_behalf_of`).
2. Of the owners that wait for a place the one that was served longest ago is next (`core/turns.py`): one
   owner's jobs queue behind one another, and hold up nobody else.
3. An owner who has too many waiting is refused; what was let in once is not refused in its middle.

As for quotas, only keys and people are told apart (`core/tenants.py`): jobs of nobody in particular, those of
commands and workers among them, take whatever places are free.
"""

from __future__ import annotations

import contextlib
import dataclasses
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


@dataclasses.dataclass
class _Errand:
    """What is done for an owner at their request; `let_in`: the places that it has had one of."""

    owner: Owner
    let_in: set[Places] = dataclasses.field(default_factory=set)

    def name(self) -> str:
        return self.owner if isinstance(self.owner, str) else self.owner()


_errand: ContextVar[_Errand | None] = ContextVar("webpool_sandbox_errand", default=None)


@contextlib.contextmanager
def on_behalf_of(owner: Owner) -> Iterator[None]:
    """What is done inside, in this thread or task, is this owner's; one that is a function is asked late."""
    before = _errand.set(_Errand(owner))
    try:
        yield
    finally:
        _errand.reset(before)


def speak_for(owner: Owner) -> None:
    """As `on_behalf_of`, to the end of the task that calls."""
    _errand.set(_Errand(owner))


def spoken_for() -> str:
    """On whose behalf this is done, where that was said by name."""
    errand = _errand.get()
    return errand.owner if errand is not None and isinstance(errand.owner, str) else ""


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
    def taken(self) -> Iterator[None]:
        """Wait for a place, and hold it.

        Raises:
            Busy: as many jobs of the owner wait as may.
        """
        errand = _errand.get() or _Errand("")
        owner = errand.name()
        self._take(owner, refuses=self not in errand.let_in)
        errand.let_in.add(self)
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._served[owner] -= 1
                if not self._served[owner]:
                    del self._served[owner]
                self._changed.notify_all()

    def _take(self, owner: str, *, refuses: bool) -> None:
        ticket = object()
        with self._changed:
            if refuses:
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
