"""Attempts: what a worker knows of one computation of a shard, and the row that it becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from inference.models import Attempt, Outcome, RunStep
from inference.store.paths import without_paths
from inference.store.sql.statements import Insert

_INSERT = Insert(Attempt)


@dataclass(frozen=True)
class AttemptFacts:
    """What is known of an attempt, as far as it came; the fields are those of `Attempt`.

    What was not measured is None, or empty. Times are in ms, memory in MB.
    """

    browser: str
    started_at: datetime
    family: str = ""
    browser_version: str = ""
    driver_version: str = ""
    queue_ms: float | None = None
    memory_mb: float | None = None
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    bytes_in: int | None = None
    tokens: int | None = None
    backend: str = ""
    adapter: str = ""
    software: bool | None = None
    nodes: Mapping[str, int] = field(default_factory=dict)
    unproved: str = ""
    warm: bool | None = None
    load_ms: float | None = None
    transfer_ms: float | None = None
    compute_ms: float | None = None
    bytes_out: int | None = None


def write(
    shard: RunStep,
    outcome: Outcome,
    facts: AttemptFacts,
    finished_at: datetime,
    *,
    category: str = "",
    error: str = "",
) -> None:
    """Write the attempt down, inside the caller's transaction; a failed one with its category and why."""
    row = {
        **vars(facts),
        "shard_id": shard.pk,
        "number": shard.attempts,
        "outcome": outcome,
        "finished_at": finished_at,
        "error_category": category,
        "error": without_paths(error),
    }
    _INSERT.write([row])
