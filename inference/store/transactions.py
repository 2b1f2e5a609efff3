"""Transactions that are right with any number of writers.

SQLite has one writer at a time, and each transaction here is one from its first statement on. PostgreSQL has
many: what two of them decide from what they read must be kept apart by a lock, taken first.

1. `of_run`     whoever moves steps of a run, or ends it, holds the run's row: what it reads of the run's
                steps is how they are. Every `Attempt` is written under it, too, which `outbox` builds on.
2. `alone`      whoever counts or looks before it writes holds a lock of that name.
3. `together`   what is written must hold together, or not at all; nobody need be kept from it.
4. `repeated`   a transaction that the database ended because of another one (a deadlock, a serialization
                failure) is done again from its start. Each of the above stands in a function that is.

The locks end with the transaction, so that a pooler may give each transaction another connection. Where one
writer is all there is, none of this costs a statement.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import random
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from django.db import OperationalError, connection, transaction

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)
_CONFLICTS = frozenset({"40001", "40P01"})  # serialization_failure, deadlock_detected
_TRIES = 12
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.005, 0.5
# Not FOR UPDATE: rows that name the run may be inserted meanwhile.
_LOCK_RUN = "SELECT 1 FROM inference_run WHERE id = %s FOR NO KEY UPDATE"
_LOCK_NAME = "SELECT pg_advisory_xact_lock(%s)"
# A number of its own, higher than that of every transaction that has written anything so far.
_NEXT = "SELECT pg_current_xact_id()::text"
_ENDED = "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= %s::xid8"
_LOOK_EVERY_S = 0.005


@contextlib.contextmanager
def of_run(run_id: uuid.UUID) -> Iterator[None]:
    """A transaction in which nobody else moves the run or its steps."""
    with transaction.atomic():
        if _has_many_writers():
            _execute(_LOCK_RUN, run_id)
        yield


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """A transaction that no other one of the same name runs beside."""
    with transaction.atomic():
        if _has_many_writers():
            _execute(_LOCK_NAME, zlib.crc32(f"webpool:{name}".encode()))
        yield


@contextlib.contextmanager
def together() -> Iterator[None]:
    """A transaction beside which others may run."""
    with transaction.atomic():
        yield


def repeated(work: Callable[P, T]) -> Callable[P, T]:
    """Do `work`, which is one transaction and what surrounds it, again after a conflict with another.

    What it is called with must be as it was then: it may change copies of it only. Within a transaction of
    its caller it is not repeated: that one is lost as a whole.

    Raises:
        OperationalError: it met conflicts all the time, or anything else is wrong.
    """

    @functools.wraps(work)
    def until_done(*args: P.args, **kwargs: P.kwargs) -> T:
        pause_s = _FIRST_PAUSE_S
        for _ in range(_TRIES - 1):
            try:
                return work(*args, **kwargs)
            except OperationalError as error:
                if connection.in_atomic_block or not is_conflict(error):
                    raise
                log.info("%s: done again: %s", work.__qualname__, error)
            time.sleep(random.uniform(0.5, 1.0) * pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return work(*args, **kwargs)

    return until_done


def is_conflict(error: OperationalError) -> bool:
    """Whether the database ended a transaction in favour of another one, which says nothing against it."""
    return getattr(error.__cause__, "sqlstate", None) in _CONFLICTS


def others_have_ended(patience_s: float) -> bool:
    """Wait until every transaction has ended that has written something by now; False: one goes on.

    Not within a transaction, which would wait for itself.
    """
    if not _has_many_writers():
        return True
    deadline = time.monotonic() + patience_s
    with connection.cursor() as cursor:
        cursor.execute(_NEXT)
        (number,) = cursor.fetchone()
        while True:
            cursor.execute(_ENDED, [number])
            if cursor.fetchone()[0]:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_EVERY_S)


def _has_many_writers() -> bool:
    return connection.features.has_select_for_update


def _execute(sql: str, value: int | uuid.UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, [value])
