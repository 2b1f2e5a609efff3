"""What really happens to the states of runs and steps, written down by triggers of the database itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.db import connection

from inference.core.lifecycle import ASK, RUN, STEP, Move, RunState, StepState

_SQLITE = (
    """CREATE TEMP TABLE moves
    (n INTEGER PRIMARY KEY, kind TEXT, id TEXT, before TEXT, after TEXT, raised INTEGER, asked INTEGER)""",
    """CREATE TEMP TRIGGER watch_steps AFTER UPDATE OF state ON main.inference_runstep BEGIN
      INSERT INTO moves VALUES (NULL, 'step', NEW.id, OLD.state, NEW.state, NEW.fence - OLD.fence,
                                NEW.doubt IS NOT NULL AND NEW.doubt IS NOT OLD.doubt);
    END""",
    """CREATE TEMP TRIGGER watch_runs AFTER UPDATE OF state ON main.inference_run BEGIN
      INSERT INTO moves VALUES (NULL, 'run', NEW.id, OLD.state, NEW.state, 0, 0);
    END""",
)
_NO_SQLITE = ("DROP TRIGGER watch_steps", "DROP TRIGGER watch_runs", "DROP TABLE moves")
_POSTGRESQL = (
    """CREATE TABLE moves
    (n SERIAL, kind TEXT, id TEXT, before TEXT, after TEXT, raised INTEGER, asked INTEGER)""",
    """CREATE FUNCTION watch_step() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO moves (kind, id, before, after, raised, asked)
      VALUES ('step', NEW.id::text, OLD.state, NEW.state, NEW.fence - OLD.fence,
              (NEW.doubt IS NOT NULL AND NEW.doubt IS DISTINCT FROM OLD.doubt)::int);
      RETURN NEW;
    END $$""",
    """CREATE FUNCTION watch_run() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO moves (kind, id, before, after, raised, asked)
      VALUES ('run', NEW.id::text, OLD.state, NEW.state, 0, 0);
      RETURN NEW;
    END $$""",
    """CREATE TRIGGER watch_steps AFTER UPDATE OF state ON inference_runstep
    FOR EACH ROW EXECUTE FUNCTION watch_step()""",
    """CREATE TRIGGER watch_runs AFTER UPDATE OF state ON inference_run
    FOR EACH ROW EXECUTE FUNCTION watch_run()""",
)
_NO_POSTGRESQL = (
    "DROP FUNCTION watch_step CASCADE",
    "DROP FUNCTION watch_run CASCADE",
    "DROP TABLE moves",
)


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

    def _legal(self) -> list[Move[RunState]] | list[Move[StepState]]:
        if self.kind == "run":
            return list(RUN.between(RunState(self.before), RunState(self.after)))
        before, after = StepState(self.before), StepState(self.after)
        found = STEP.between(before, after, fence_raised_by=self.raised)
        if len(found) == 1:
            return list(found)
        return [move for move in found if (move is ASK) == self.asked]


@contextlib.contextmanager
def watched() -> Iterator[Watch]:
    """Watch what this process's connection writes."""
    sqlite = connection.vendor == "sqlite"
    _execute(_SQLITE if sqlite else _POSTGRESQL)
    try:
        yield Watch()
    finally:
        _execute(_NO_SQLITE if sqlite else _NO_POSTGRESQL)


def _execute(statements: Iterable[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


class Watch:
    """The changes since it was asked last, in the order in which they were written."""

    def take(self) -> list[Change]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT kind, id, before, after, raised, asked FROM moves ORDER BY n")
            rows = cursor.fetchall()
            cursor.execute("DELETE FROM moves")
        return [Change(*row) for row in rows]


def every_move() -> set[str]:
    steps = {f"step {move.name}" for move in STEP.moves}
    return steps | {f"run {move.name}" for move in RUN.moves}
