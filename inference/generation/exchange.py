"""What a decode loop passes on to the store, and what it waits for there, in one message.

The server answers what was passed on at once, and what the streams have later: a token costs one way to the
store, and who waits is woken by the next one alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import redis
from redis.exceptions import NoScriptError, RedisError

from browsers.redis import Command, new_connection, packed
from inference.generation import scripts
from inference.generation.scripts import Call, Found
from inference.generation.streams import Appended, appended


class Exchange:
    """One thread's. After any RedisError it begins anew, with a connection of its own."""

    def __init__(self) -> None:
        self.after: Mapping[str, str] = {}
        """What is, or was last, waited for: by stream the entry after which something new is wanted."""
        self._connection: Any = None
        self._asked = False

    def pass_on(
        self, calls: Sequence[Call], after: Mapping[str, str], most_ms: int
    ) -> list[Appended | RedisError]:
        """What became of each; what streams have after these entries, `wait` gives.

        Nobody who waits for the streams is woken before all is written. What a script failed with is its
        answer.

        Args:
            most_ms: how long the server waits for something in the streams; 0: not at all.

        Raises:
            RedisError: the store does not answer; some may have been appended, and may be again.
        """
        if self._asked:  # for what was wanted before something went wrong
            self._end()
        try:
            self.after = after
            self._send([*_transaction(calls), _read(after, most_ms)])
            answers = self._answers(len(calls))
        except RedisError:
            self._end()
            raise
        again = [
            scripts.run(call) if isinstance(answer, NoScriptError) else answer
            for call, answer in zip(calls, answers, strict=True)
        ]
        return [each if isinstance(each, RedisError) else appended(each) for each in again]

    def wait(self, after: Mapping[str, str], most_ms: int) -> Found:
        """What was asked for with `pass_on`, else what streams have after these entries; one of each.

        Raises:
            RedisError: the store does not answer.
        """
        try:
            if not self._asked:
                self.after = after
                self._send([_read(after, most_ms)])
            answer = self._answer()
        except RedisError:
            self._end()
            raise
        self._asked = False
        if isinstance(answer, RedisError):
            raise answer
        return _found(answer)

    def _send(self, commands: Sequence[Command]) -> None:
        if self._connection is None:
            connection = new_connection()
            connection.connect()
            self._connection = connection
        self._connection.send_packed_command(packed(commands), check_health=False)
        self._asked = True

    def _answers(self, count: int) -> list[Any]:
        """Of one script, or of a transaction of several."""
        if count == 1:
            return [self._answer()]
        *_, done = [self._answer() for _ in range(count + 2)]
        if isinstance(done, RedisError):
            raise done
        return list(done)

    def _answer(self) -> Any:
        try:
            return self._connection.read_response(disable_decoding=True)
        except redis.ResponseError as error:
            return error

    def _end(self) -> None:
        connection, self._connection, self._asked = self._connection, None, False
        if connection is not None:
            connection.disconnect()


def _transaction(calls: Sequence[Call]) -> list[Command]:
    commands = [scripts.command(call) for call in calls]
    return commands if len(calls) == 1 else [("MULTI",), *commands, ("EXEC",)]


def _read(after: Mapping[str, str], most_ms: int) -> Command:
    block = ("BLOCK", most_ms) if most_ms else ()
    return ("XREAD", "COUNT", 1, *block, "STREAMS", *after, *after.values())


def _found(answer: Any) -> Found:
    """What XREAD gave, in either version of the protocol."""
    streams = answer.items() if isinstance(answer, dict) else answer or ()
    return [
        (key, [(entry, dict(zip(flat[::2], flat[1::2], strict=True))) for entry, flat in entries])
        for key, entries in streams
    ]
