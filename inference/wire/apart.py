"""Large JSON is built in a process of its own: here it would stop all requests while it is.

One child for this process, and one thread that asks it. Whoever has work for it queues by owner, and of those
who wait the one that was served longest ago is next: one caller's large bodies queue behind one another, and
take no more than the child's core.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
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


class Child:
    """The process that builds; started when it is needed, and anew before it has used up what it may."""

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


class Desk:
    """Work for the child, one owner after another."""

    def __init__(self) -> None:
        self.child = Child()
        self._changed = threading.Condition()
        self._order = Turns()
        self._waiting: dict[str, deque[Callable[[], None]]] = {}
        threading.Thread(target=self._serve, name="apart", daemon=True).start()

    def submit(self, owner: str, work: Callable[[Child], T]) -> Future[T]:
        """Have work done when it is the owner's turn; unless the future is cancelled until then."""
        future: Future[T] = Future()
        with self._changed:
            self._waiting.setdefault(owner, deque()).append(lambda: self._do(work, future))
            self._changed.notify()
        return future

    def _do(self, work: Callable[[Child], T], future: Future[T]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work(self.child))
        except BaseException as error:
            future.set_exception(error)
        finally:
            close_old_connections()

    def _serve(self) -> None:
        while True:
            self._next()()

    def _next(self) -> Callable[[], None]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            owner = self._order.next_of(self._waiting)
            self._order.note(owner)
            work = self._waiting[owner].popleft()
            if not self._waiting[owner]:
                del self._waiting[owner]
            return work


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
