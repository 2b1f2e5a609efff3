"""A few threads for blocking calls, shared so that no owner's calls keep the others' waiting."""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from inference.core.turns import Turns

T = TypeVar("T")


class FairThreads:
    """So many threads, of which an owner has no more than it leaves free.

    The bound moves with how many others there are, as that of a switch's shared buffer does ("dynamic queue
    length thresholds", Choudhury and Hahne 1998): one owner alone may have half of the threads, two come to
    have a third each, and what they leave is for the next who comes. What has no owner yet (a login) takes
    any that is free. Of those who wait and may, the one that was served longest ago is next.
    """

    def __init__(
        self, count: int, name: str, spent: Callable[[str, float], None] = lambda owner, cpu_s: None
    ) -> None:
        self._count: Final = count
        self._spent = spent
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._changing = threading.Lock()
        self._waiting: dict[str, deque[Callable[[], None]]] = {}
        self._taken: Counter[str] = Counter()
        self._turns = Turns()

    def submit(self, owner: str, call: Callable[[], T]) -> Future[T]:
        """Have it called on behalf of that owner; "" for nobody yet. One that is cancelled is not called."""
        future: Future[T] = Future()
        with self._changing:
            self._waiting.setdefault(owner, deque()).append(
                functools.partial(_answer, future, call)
            )
            self._start()
        return future

    def _start(self) -> None:
        """Whatever may, while changing."""
        while self._waiting:
            free = self._count - self._taken.total()
            may = [one for one in self._waiting if (self._taken[one] if one else 0) < free]
            if not may:
                return
            owner = may[0] if len(may) == 1 else self._turns.next_of(may)
            self._turns.note(owner)
            calls = self._waiting[owner]
            call = calls.popleft()
            if not calls:
                del self._waiting[owner]
            self._taken[owner] += 1
            self._executor.submit(self._work, owner, call)

    def _work(self, owner: str, call: Callable[[], None]) -> None:
        began = time.thread_time()
        try:
            call()
        finally:
            with self._changing:
                self._taken[owner] -= 1
                if not self._taken[owner]:
                    del self._taken[owner]
                self._start()
            self._spent(owner, time.thread_time() - began)


def _answer(future: Future[T], call: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
