"""Thousands of rows into the database: the ORM takes several times longer to prepare one than to write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connection, models

Row = Mapping[str, Any]
"""A new row by the names of its fields; a document is its JSON text."""


def insert(table: type[models.Model], rows: Sequence[Row]) -> None:
    """All rows, which have the same fields in the same order: texts, numbers, moments, documents.

    A field must have its column's name, as all have that refer to no other table.
    """
    if not rows:
        return
    quoted = connection.ops.quote_name
    columns = ", ".join(quoted(name) for name in rows[0])
    values = ", ".join(["%s"] * len(rows[0]))
    statement = f"INSERT INTO {quoted(table._meta.db_table)} ({columns}) VALUES ({values})"  # noqa: S608  names of our own
    with connection.cursor() as cursor:
        cursor.executemany(statement, [[_adapted(value) for value in row.values()] for row in rows])


def _adapted(value: Any) -> Any:
    return connection.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value
