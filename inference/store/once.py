"""The same work asked for many times at once is done once: the others wait, and find it done, or refused."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from inference.errors import InvalidRequest

Work = TypeVar("Work", bound=Hashable)


class Once(Generic[Work]):
    """Who does some work in this process, by what it is."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._done_now: set[Work] = set()
        self._refused: dict[Work, str] = {}
        self.asked = Counter[Work]()
        """How many do it, or wait for who does."""

    @contextlib.contextmanager
    def alone(self, work: Work) -> Iterator[None]:
        """Wait until nobody else does it; whoever comes in looks first whether it is done.

        Raises:
            InvalidRequest: so it ended for who did it meanwhile: it cannot be done.
        """
        with self._changed:
            self.asked[work] += 1
        try:
            with self._changed:
                self._changed.wait_for(lambda: work not in self._done_now)
                if work in self._refused:
                    raise InvalidRequest(self._refused[work])
                self._done_now.add(work)
            yield from self._doing(work)
        finally:
            with self._changed:
                self.asked[work] -= 1
                if not self.asked[work]:
                    del self.asked[work]
                    self._refused.pop(work, None)

    def _doing(self, work: Work) -> Iterator[None]:
        try:
            yield
        except InvalidRequest as error:
            self._refused[work] = str(error)
            raise
        finally:
            with self._changed:
                self._done_now.remove(work)
                self._changed.notify_all()
