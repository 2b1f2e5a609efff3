"""What the commands that list and show things share."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from django.core.management.base import OutputWrapper
from tabulate import tabulate

from inference.documents import JsonView


def write_table(
    out: OutputWrapper, rows: Collection[JsonView], columns: Sequence[str], none: str
) -> None:
    """These columns of the rows, mappings; `none` is said where there are no rows."""
    if not rows:
        out.write(none)
        return
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    out.write(tabulate(cells, columns, tablefmt="plain", disable_numparse=True))


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)
