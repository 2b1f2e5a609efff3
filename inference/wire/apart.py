"""Large JSON is built in processes of its own: here it would stop all requests while it is.

Whoever has work for them queues by owner, and of those who wait the one that was served longest ago is next.
One caller's large bodies queue behind one another, and take no more than one child's core: another's need not
wait until one of them is built.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
from django.db import close_old_connections

from inference import sandbox
from inference.conversion.documents import Bounds
from inference.core.turns import Turns
from inference.documents import Array
from inference.errors import InvalidRequest, NotJson, TooLarge
from inference.sandbox import Answer, Session, limits_for

T = TypeVar("T")
_REFUSALS: Final = {kind.__name__: kind for kind in (InvalidRequest, TooLarge, NotJson)}
_DOCUMENT: Final = "inference.wire.building:document"
BODY, REST = "body", "rest"
_CHILDREN: Final = 2


class Child:
    """A process that builds; started when it is needed, and anew before it has used up what it may."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._used_s = 0.0

    def ask(
        self, function: str, arrays: Mapping[str, Array] | None = None, **words: object
    ) -> Answer:
        """Have a function of the wire called there, by its name as module:name.

        Raises:
            InvalidRequest, TooLarge, NotJson: as the function raises them.
            InvalidRequest: the child did not survive it.
        """
        limits = limits_for()
        if self._session is not None and (
            self._used_s > limits.seconds / 4 or self._session.ended()
        ):
            self.close()
        began = time.monotonic()
        try:
            if self._session is None:
                self._session = sandbox.opened("bodies", limits=limits)
            answer = self._session.ask(arrays, function=function, words=words)
        except sandbox.Refused as error:
            self.close()
            raise InvalidRequest(f"the JSON could not be taken: {error}") from error
        except BaseException:
            self.close()
            raise
        self._used_s += time.monotonic() - began
        said = answer.document
        if "refused" in said:
            raise _REFUSALS.get(said["kind"], InvalidRequest)(said["refused"])
        return Answer(said["said"], answer.arrays)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session, self._used_s = None, 0.0


# Does it, and returns what tells of it: when the owner and the child are free again.
_Work = Callable[[Child], Callable[[], None]]


class Desk:
    """Work for the children, one piece of each owner at a time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._order = Turns()
        self._waiting: dict[str, deque[_Work]] = {}
        self._served: set[str] = set()
        # The one that was used last is used next: a second one is started when two owners have work.
        self._free = [Child() for _ in range(_CHILDREN)]
        for number in range(_CHILDREN):
            threading.Thread(target=self._serve, name=f"apart-{number}", daemon=True).start()

    def submit(self, owner: str, work: Callable[[Child], T]) -> Future[T]:
        """Have work done when it is the owner's turn; unless the future is cancelled until then."""
        future: Future[T] = Future()
        with self._changed:
            self._waiting.setdefault(owner, deque()).append(
                lambda child: _done(work, child, future)
            )
            self._changed.notify()
        return future

    def _serve(self) -> None:
        while True:
            owner, work, child = self._next()
            tell = work(child)
            with self._changed:
                self._served.remove(owner)
                self._free.append(child)
            tell()
            del work, tell  # a body and what was made of it, until there is more to do

    def _next(self) -> tuple[str, _Work, Child]:
        with self._changed:
            self._changed.wait_for(self._whose_turn)
            owner = self._order.next_of(self._whose_turn())
            self._order.note(owner)
            self._served.add(owner)
            work = self._waiting[owner].popleft()
            if not self._waiting[owner]:
                del self._waiting[owner]
            return owner, work, self._free.pop()

    def _whose_turn(self) -> list[str]:
        return [owner for owner in self._waiting if owner not in self._served]


def _done(work: Callable[[Child], T], child: Child, future: Future[T]) -> Callable[[], None]:
    """Do it, unless nobody wants it any more; returns what tells how it went."""
    if not future.set_running_or_notify_cancel():
        return lambda: None
    try:
        result = work(child)
    except BaseException as error:
        return partial(future.set_exception, error)
    finally:
        close_old_connections()
    return partial(future.set_result, result)


_LOCK = threading.Lock()
_desk: Desk | None = None


def desk() -> Desk:
    """This process's."""
    global _desk
    with _LOCK:
        if _desk is None:
            _desk = Desk()
        return _desk


def read(child: Child, raw: bytes | bytearray) -> Any:
    """As `conversion.documents.parse`, built in the child; what has no tensors must be of few values.

    Raises:
        As that; TooLarge: it has more.
    """
    return rest(child.ask(_DOCUMENT, {BODY: packed(raw)}, bounds=bounds(len(raw))))


def rest(answer: Answer) -> Any:
    """What of a document is no tensor, as `building` tells it."""
    return json.loads(answer.arrays[REST].tobytes())


def bounds(length: int) -> dict[str, int]:
    """Those of the settings, for the child.

    Raises:
        TooLarge: a document of so many bytes is refused before it is sent there.
    """
    found = Bounds.of_settings()
    found.check_length(length)
    return dataclasses.asdict(found)


def packed(raw: bytes | bytearray | memoryview) -> Array:
    return np.frombuffer(raw, np.uint8)
