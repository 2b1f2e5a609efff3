"""Whether an error is a disk that takes no more, however the files or the database say it."""

from __future__ import annotations

import shutil
import sqlite3

from django.conf import settings
from django.db import OperationalError

from inference.sandbox.frames import FULL

# What SQLite needs at least to open its write-ahead log and the index of it.
_SQLITE_NEEDS_BYTES = 2**16


def is_full(error: BaseException) -> bool:
    """True for ENOSPC and EDQUOT, PostgreSQL's disk_full, and SQLite's errors while its disk has no room.

    SQLite says "database or disk is full" of a page, "disk I/O error" or "unable to open database file"
    where its log or that log's index cannot grow: those have other causes, too, so the disk itself is asked.
    """
    if isinstance(error, OSError):
        return error.errno in FULL
    cause = error.__cause__
    if not isinstance(error, OperationalError) or cause is None:
        return False
    if getattr(cause, "sqlstate", None) == "53100":
        return True
    if not isinstance(cause, sqlite3.OperationalError):
        return False
    if cause.sqlite_errorcode == sqlite3.SQLITE_FULL:
        return True
    primary = cause.sqlite_errorcode & 0xFF
    return primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and not _has_room()


def _has_room() -> bool:
    return shutil.disk_usage(settings.WEBPOOL_HOME).free >= _SQLITE_NEEDS_BYTES
