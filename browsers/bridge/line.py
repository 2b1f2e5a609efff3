"""The way to a page's engine by a socket of its own: asked and answered in one thread.

Neither the page's main thread nor another thread of this process has a part in its requests.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from browsers.bridge.websocket import Closed, Connection
from browsers.core.errors import ConnectionLost, DeadlinePassed
from browsers.core.protocol import WireTensor, decode_frame, encode_frame


class Line:
    """One request at a time, over the connection that the engine made last."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._cuts = 0
        self._changed = threading.Condition()
        self._asking = threading.Lock()
        self._numbers = itertools.count(1)

    def connect(self, connection: Connection) -> None:
        """A newer connection: what the former was asked is given up."""
        self._replace(connection)

    def cut(self) -> None:
        """Give up what the engine was asked; it connects again by itself."""
        self._replace(None)

    def forget(self) -> None:
        """Its engine has ended: the next request waits for another one's connection."""
        with self._changed:
            former, self._connection = self._connection, None
        if former is not None:
            former.close()

    def _replace(self, connection: Connection | None) -> None:
        with self._changed:
            former, self._connection = self._connection, connection
            self._cuts += connection is None
            self._changed.notify_all()
        if former is not None:
            former.close()

    def ask(
        self,
        op: str,
        header: Mapping[str, Any],
        tensors: Sequence[WireTensor],
        *,
        timeout_s: float,
    ) -> tuple[dict[str, Any], list[WireTensor]]:
        """The engine's answer; one that is starting is waited for. An error it reports is in the header.

        Raises:
            ConnectionLost: the connection ended before the answer came.
            DeadlinePassed: it did not come in time.
        """
        until, cuts = time.monotonic() + timeout_s, self._cuts
        late = f"the engine did not answer {op!r} within {timeout_s:.1f} s"
        if not self._asking.acquire(timeout=timeout_s):
            raise DeadlinePassed(late)
        try:
            connection = self._connected(until, cuts)
            number, began = next(self._numbers), time.monotonic()
            frame = encode_frame({**header, "op": op, "id": number}, tensors)
            try:
                connection.send(frame, timeout_s=until - began)
                answer, given = _answer(connection, number, until)
            except Closed as closed:
                self._forget(connection)
                raise ConnectionLost(f"the engine's connection ended: {closed}") from closed
        except TimeoutError:
            raise DeadlinePassed(late) from None
        finally:
            self._asking.release()
        if answer.get("fatal"):  # it waits for this, to be replaced
            self._forget(connection)
        answer["round_trip_ms"] = (time.monotonic() - began) * 1000
        return answer, given

    def _forget(self, connection: Connection) -> None:
        """The next request waits for another one."""
        with self._changed:
            if self._connection is connection:
                self._connection = None
        connection.close()

    def _connected(self, until: float, cuts: int) -> Connection:
        """`cuts`: how often it had been cut when it was asked."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._connection is not None or self._cuts != cuts,
                timeout=until - time.monotonic(),
            )
            if self._cuts != cuts:
                raise ConnectionLost("the engine's connection was given up")
            if self._connection is None:
                raise TimeoutError
            return self._connection


def _answer(
    connection: Connection, number: int, until: float
) -> tuple[dict[str, Any], list[WireTensor]]:
    """What answers that request; answers to those that somebody gave up come before."""
    while True:
        answer, given = decode_frame(connection.receive(until - time.monotonic()))
        if answer.pop("id") == number:
            return answer, given
        if answer.get("fatal"):  # it waits for the end of its connection, to be replaced
            raise Closed("the engine broke over what nobody waits for any more")
