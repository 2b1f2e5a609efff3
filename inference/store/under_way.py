"""Whether there is anything to look after: what each thread of the control worker asks before it looks."""

from __future__ import annotations

from dataclasses import dataclass

from inference.store.sql.running import rows
from inference.store.sql.statements import read_sql

_UNDER_WAY = read_sql("under_way")


@dataclass(frozen=True)
class UnderWay:
    """Whether any of each kind is open, or was cancelled with a run in flight."""

    runs: bool
    batches: bool
    comparisons: bool
    texts: bool


def under_way() -> UnderWay:
    """As the database has it now; one statement, which finds each by an index."""
    (found,) = rows(_UNDER_WAY)
    return UnderWay(*map(bool, found))
