"""The history file: the only package that imports duckdb.

DuckDB takes one writer, and while one holds the file nobody else may open it. So one process at a time
writes (`HistoryStore`), and everybody reads a snapshot of the file (`Snapshot`), swapped in by rename.
"""

from __future__ import annotations

from history.store.snapshot import Snapshot, latest
from history.store.writer import HistoryStore

__all__ = ["HistoryStore", "Snapshot", "latest"]
