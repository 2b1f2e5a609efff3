"""A statement, run: what it returns, or how many rows it changed.

Django's cursor passes some forty functions for each statement, more than SQLite itself needs for a small one.
Where it would do nothing but pass it on, the statement goes to SQLite directly. Who listens to statements
(`execute_wrapper`, `CaptureQueriesContext`), and any other database, gets Django's own way.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Sequence
from typing import Any, TypeAlias, cast

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3.base import FORMAT_QMARK_REGEX

Row: TypeAlias = tuple[Any, ...]
Given: TypeAlias = "Sequence[Any] | None"


def rows(sql: str, parameters: Given = None) -> list[Row]:
    """What a statement returns. Where parameters are given, `%s` in it is one, and `%%` a percent sign.

    Raises:
        DatabaseError: as Django has it.
    """
    database = connections["default"]
    if (direct := _direct(database)) is not None:
        with database.wrap_database_errors:
            return cast("list[Row]", _run(direct, sql, parameters).fetchall())
    with database.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cast("list[Row]", cursor.fetchall())


def changed(sql: str, parameters: Given = None) -> int:
    """How many rows a statement changed.

    Raises:
        DatabaseError: as Django has it.
    """
    database = connections["default"]
    if (direct := _direct(database)) is not None:
        with database.wrap_database_errors:
            return int(_run(direct, sql, parameters).rowcount)
    with database.cursor() as cursor:
        cursor.execute(sql, parameters)
        return int(cursor.rowcount)


def _direct(database: BaseDatabaseWrapper) -> sqlite3.Connection | None:
    """This thread's open connection to SQLite; None: Django has something to do first."""
    if (
        database.vendor != "sqlite"
        or database.connection is None
        or database.needs_rollback
        or database.execute_wrappers
        or database.queries_logged
    ):
        return None
    return cast("sqlite3.Connection", database.connection)


def _run(direct: sqlite3.Connection, sql: str, parameters: Given) -> sqlite3.Cursor:
    return direct.execute(sql) if parameters is None else direct.execute(_qmarks(sql), parameters)


@functools.lru_cache(maxsize=512)
def _qmarks(sql: str) -> str:
    """As Django's SQLite backend writes it."""
    return FORMAT_QMARK_REGEX.sub("?", sql).replace("%%", "%")
