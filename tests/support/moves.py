"""What really happens to the states of runs and steps, written down by triggers of the database itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from django.db import connection

from inference.core.lifecycle import ASK, RUN, STEP, Move, RunState, ShardState

_WATCH = """
CREATE TEMP TABLE moves (kind TEXT, id TEXT, before TEXT, after TEXT, raised INTEGER, asked INTEGER);
CREATE TEMP TRIGGER watch_steps AFTER UPDATE OF state ON main.inference_runshard BEGIN
  INSERT INTO moves VALUES ('step', NEW.id, OLD.state, NEW.state, NEW.fence - OLD.fence,
                            NEW.doubt IS NOT NULL AND NEW.doubt IS NOT OLD.doubt);
END;
CREATE TEMP TRIGGER watch_runs AFTER UPDATE OF state ON main.inference_run BEGIN
  INSERT INTO moves VALUES ('run', NEW.id, OLD.state, NEW.state, 0, 0);
END;
"""
_STOP = "DROP TRIGGER temp.watch_steps; DROP TRIGGER temp.watch_runs; DROP TABLE temp.moves;"


@dataclass(frozen=True)
class Change:
    """One UPDATE of one row's state. `asked`: answers to be confirmed were written with it."""

    kind: str
    id: str
    before: str
    after: str
    raised: int
    asked: bool

    @property
    def name(self) -> str:
        """The move of the table that it is, such as "step claim".

        Raises:
            AssertionError: it is none, or the table does not tell which.
        """
        legal = [move.name for move in self._legal()]
        assert len(legal) == 1, f"{self}: by the table it is {legal or 'illegal'}"
        return f"{self.kind} {legal[0]}"

    def _legal(self) -> list[Move[RunState]] | list[Move[ShardState]]:
        if self.kind == "run":
            return list(RUN.between(RunState(self.before), RunState(self.after)))
        before, after = ShardState(self.before), ShardState(self.after)
        found = STEP.between(before, after, fence_raised_by=self.raised)
        if len(found) == 1:
            return list(found)
        return [move for move in found if (move is ASK) == self.asked]


@contextlib.contextmanager
def watched() -> Iterator[Watch]:
    """Watch what this process's connection writes, on SQLite."""
    connection.ensure_connection()
    connection.connection.executescript(_WATCH)
    try:
        yield Watch()
    finally:
        connection.connection.executescript(_STOP)


class Watch:
    """The changes since it was asked last, in the order in which they were written."""

    def take(self) -> list[Change]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM temp.moves ORDER BY rowid")
            rows = cursor.fetchall()
            cursor.execute("DELETE FROM temp.moves")
        return [Change(*row) for row in rows]


def every_move() -> set[str]:
    steps = {f"step {move.name}" for move in STEP.moves}
    return steps | {f"run {move.name}" for move in RUN.moves}
