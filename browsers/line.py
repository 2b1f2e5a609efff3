"""The socket of a page's engine: one request at a time, answered in the thread that asks."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from browsers.core.errors import ConnectionLost, DeadlinePassed
from browsers.core.protocol import WireTensor, decode_frame, encode_frame
from browsers.websocket import Closed, Connection

_numbers = itertools.count(1)


class Line:
    """Neither the page's main thread nor another thread of this process has a part in its requests.

    Whoever closes it gives up what it was asked.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asking = threading.Lock()

    def ask(
        self,
        op: str,
        header: Mapping[str, Any],
        tensors: Sequence[WireTensor],
        *,
        timeout_s: float,
    ) -> tuple[dict[str, Any], list[WireTensor]]:
        """The engine's answer; an error that it answers with is in its header.

        Raises:
            ConnectionLost: the connection ended before the answer came.
            DeadlinePassed: it did not come in time.
        """
        number = next(_numbers)
        began = time.monotonic()
        with self._asking:
            try:
                frame = encode_frame({**header, "op": op, "id": number}, tensors)
                self._connection.send(frame, timeout_s=timeout_s)
                while True:
                    left = began + timeout_s - time.monotonic()
                    answer, given = decode_frame(self._connection.receive(max(0.0, left)))
                    if answer.pop("id") == number:  # else somebody gave it up
                        break
            except Closed as closed:
                raise ConnectionLost(f"the engine's connection ended: {closed}") from closed
            except TimeoutError:
                raise DeadlinePassed(
                    f"the engine did not answer {op!r} within {timeout_s:.1f} s"
                ) from None
        if answer.get("fatal"):  # it waits for this, to be replaced
            self.close()
        answer["round_trip_ms"] = (time.monotonic() - began) * 1000
        return answer, given

    def close(self) -> None:
        """End it at once. Idempotent."""
        self._connection.close()
