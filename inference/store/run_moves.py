"""The one writer of runs' states: a function for each move of `core.lifecycle.RUN`, named as there.

None: the run had ended before, a normal answer. Statements belong into the caller's transaction.
"""

from __future__ import annotations

import uuid
from datetime import datetime

from browsers.core.failures import Category
from inference.core.lifecycle import RUN_CANCEL, RUN_FAIL, RUN_SUCCEED, Move, RunState
from inference.documents import JsonView
from inference.models import Run
from inference.store.paths import without_paths
from inference.store.sql.statements import Update
from inference.store.wakeups import Ending


def _end(move: Move[RunState]) -> Update:
    changes = {"state": f"'{move.after}'", "outputs": None, "error_category": None, "error": None}
    return Update(Run, {**changes, "finished_at": None}, {"id": None, "state": move.before})


_SUCCEED, _FAIL, _CANCEL = (_end(move) for move in (RUN_SUCCEED, RUN_FAIL, RUN_CANCEL))


def succeed(run_id: uuid.UUID, outputs: JsonView, now: datetime) -> Ending | None:
    """`outputs`: by the model's outputs, where each is stored."""
    return _written(_SUCCEED, run_id, Ending(RUN_SUCCEED.after, outputs, "", "", now))


def fail(run_id: uuid.UUID, category: Category, error: str, now: datetime) -> Ending | None:
    """`error` is what the run's owner is told, without the server's paths."""
    return _written(_FAIL, run_id, Ending(RUN_FAIL.after, {}, category, without_paths(error), now))


def cancel(run_id: uuid.UUID, reason: str, now: datetime) -> Ending | None:
    ending = Ending(RUN_CANCEL.after, {}, Category.CANCELLED, reason, now)
    return _written(_CANCEL, run_id, ending)


def _written(move: Update, run_id: uuid.UUID, ending: Ending) -> Ending | None:
    fields = {name: value for name, value in vars(ending).items() if name != "state"}
    return ending if move(**fields, id=run_id) else None
