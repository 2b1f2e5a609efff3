"""One clock for the moments that are written down and compared: deadlines, claims, since when one idles.

Several machines share a PostgreSQL server, whose clock it is then. It is asked once a minute; in between this
machine's monotonic clock goes on from its answer, so that a look costs nothing. A SQLite file is on this
machine, as everybody who uses it.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from datetime import UTC, datetime

from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError, connection
from django.utils import timezone

log = logging.getLogger(__name__)
_ASK_EVERY_S = 60.0
_ASKED_AGAIN_S = 5.0
# An answer that took longer says too little: the best of so many counts.
_QUICK_S, _TRIES = 0.005, 5


@dataclasses.dataclass(frozen=True)
class _Reading:
    """What the server's clock showed, in Unix time, when the monotonic one showed `at`."""

    unix: float
    at: float
    next: float

    def now(self) -> float:
        return self.unix + time.monotonic() - self.at


_last: _Reading | None = None


def now() -> datetime:
    """The moment by the clock that all processes of the pool share.

    Raises:
        DatabaseError: the server was never reached by this process.
    """
    global _last
    if not _is_shared():
        return timezone.now()
    known = _last
    if known is None or time.monotonic() > known.next:
        _last = known = _read(known)
    return datetime.fromtimestamp(known.now(), UTC)


@functools.cache
def _is_shared() -> bool:
    """Whether a server's clock counts. Looked up once: in an event loop each task would make a connection."""
    return connection.vendor == "postgresql"


def about_now() -> datetime:
    """The same without asking, for threads that must not wait; before any answer, this machine's clock."""
    known = _last
    return timezone.now() if known is None else datetime.fromtimestamp(known.now(), UTC)


def unix() -> float:
    """`about_now` in Unix time, for what is compared between machines in Redis: breakers, heartbeats."""
    return about_now().timestamp()


def _read(known: _Reading | None) -> _Reading:
    try:
        return _ask()
    except (DatabaseError, SynchronousOnlyOperation) as error:
        # An event loop may not ask; whoever works in a thread does it for all.
        if known is None:
            raise
        if isinstance(error, DatabaseError):
            log.warning(
                "the database's clock cannot be read (%s); it is taken to go on evenly", error
            )
            return dataclasses.replace(known, next=time.monotonic() + _ASKED_AGAIN_S)
        return known


def _ask() -> _Reading:
    best, took = None, float("inf")
    with connection.cursor() as cursor:
        for _ in range(_TRIES):
            before = time.monotonic()
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
            (unix,) = cursor.fetchone()
            after = time.monotonic()
            if after - before < took:
                took = after - before
                best = _Reading(float(unix), (before + after) / 2, after + _ASK_EVERY_S)
            if took < _QUICK_S:
                break
    assert best is not None
    return best
