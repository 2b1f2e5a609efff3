"""From the database into the history file: by one process at a time, each sample once, off the hot path.

1. A sample is acknowledged when its row is committed in the database: an attempt in the ledger, or a
   `PendingSample` (loads, `record_execution`, attempts whose model goes).
2. `take_over` inserts rows and high-water mark in one DuckDB transaction. The key of a row is its source
   and its number there, so that whatever comes a second time after a crash is already there.
3. Pending rows are deleted after that; a crash in between leaves them to be taken, and ignored, again.
4. Closing the file copies it for readers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from history import vocabulary
from history.core.samples import Blame, Kind, Observation, refusals
from history.errors import Refused
from history.models import HistoryState, PendingSample

if TYPE_CHECKING:
    from history.store import HistoryStore

ATTEMPTS: Final = "attempt"
PENDING: Final = "pending"
_BATCH: Final = 5000
Read = Callable[[str, int], Sequence[Observation]]
"""`read(source, mark)`: the next attempts after `mark` as observations of `source`, in order."""


def history_path() -> Path:
    path: Path = settings.WEBPOOL_HISTORY_PATH
    return path


def open_store(*, patience_s: float = 30.0) -> HistoryStore:
    """The history file for writing; use as a context manager.

    Raises:
        HistoryBusy: another process writes.
    """
    from history.store import HistoryStore  # DuckDB: only for those who need it

    memory_mb: int = settings.WEBPOOL_HISTORY_MEMORY_MB
    return HistoryStore(history_path(), patience_s=patience_s, memory_mb=memory_mb)


def source_of(ledger: str, name: str) -> str:
    return f"{ledger}:{name}"


def attempts_taken() -> int:
    """The number up to which every attempt was taken over."""
    return HistoryState.objects.current().attempts_taken


def take_over(read: Read) -> int:
    """Take over whatever the database has and the history file has not; returns how many rows."""
    state = HistoryState.objects.current()
    taken = 0
    began = timezone.now()
    source = source_of(state.ledger, ATTEMPTS)
    if _is_complete(read, source):
        HistoryState.objects.filter(pk=state.pk).update(taken_at=began)
        return 0
    with open_store() as store:
        mark = store.high_water_mark(source)
        while batch := read(source, mark):
            mark = max(item.source_id for item in batch)
            taken += store.record(batch, marks={source: mark})
        taken += _take_pending(store, state.ledger)
        samples = store.count()
    _MARKS[history_path(), source] = mark
    HistoryState.objects.filter(pk=state.pk).update(
        taken_at=began, attempts_taken=mark, samples=samples
    )
    return taken


_MARKS: Final[dict[tuple[Path, str], int]] = {}
"""Up to which mark of a source everything is in a history file, as this process has seen it there."""


def _is_complete(read: Read, source: str) -> bool:
    """Whether nothing came in since readers got their copy, which then is complete as of now.

    To open the file, only to find that, costs ten times as much. A file that this process has not opened
    yet, that is not there, or that is another one than was copied, is opened.
    """
    from history.store import HistoryStore

    mark = _MARKS.get((history_path(), source))
    if mark is None or read(source, mark) or PendingSample.objects.exists():
        return False
    return HistoryStore.renew_copy(history_path())


def _take_pending(store: HistoryStore, ledger: str) -> int:
    taken = 0
    while rows := list(PendingSample.objects.order_by("pk")[:_BATCH]):
        taken += store.record([_observation(row, ledger) for row in rows])
        PendingSample.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return taken


def _observation(row: PendingSample, ledger: str) -> Observation:
    fields: dict[str, Any] = row.payload
    return Observation(
        **{
            **fields,
            "kind": Kind(fields["kind"]),
            "blame": Blame(blame) if (blame := fields.get("blame")) else None,
            "timestamp": datetime.fromisoformat(fields["timestamp"]),
            "source": source_of(ledger, row.source),
            "source_id": row.pk if row.key is None else row.key,
        }
    )


def put(observations: Sequence[Observation], *, name: str = PENDING) -> None:
    """Commit observations to the outbox; with the name of a source, their `source_id` is the key there."""
    keyed = name != PENDING
    PendingSample.objects.bulk_create(
        [
            PendingSample(
                source=name, key=item.source_id if keyed else None, payload=_payload(item)
            )
            for item in observations
        ],
        ignore_conflicts=keyed,
    )


def _payload(item: Observation) -> dict[str, Any]:
    fields = dataclasses.asdict(item)
    del fields["source"], fields["source_id"]
    return {**fields, "timestamp": item.timestamp.isoformat()}


def keep_attempts(read: Read) -> int:
    """Before attempts are deleted: copy those that history may not have yet; returns how many.

    Call within the transaction that deletes them.
    """
    state = HistoryState.objects.current()
    kept, mark = 0, state.attempts_taken
    with transaction.atomic():
        while batch := read(ATTEMPTS, mark):
            put(batch, name=ATTEMPTS)
            mark = max(item.source_id for item in batch)
            kept += len(batch)
    return kept


def check(observation: Observation) -> None:
    """Refuse what cannot be true.

    Raises:
        Refused: says each thing that is wrong.
    """
    now = datetime.now(UTC).replace(tzinfo=None)
    if wrong := list(refusals(observation, now=now, browsers=vocabulary.browsers())):
        raise Refused("; ".join(wrong))
