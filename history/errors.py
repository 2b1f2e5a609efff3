"""What history refuses, with what was expected, what came and what to do.

HistoryError
├── Refused     a sample, file, name or filter that cannot be right; nothing was changed
└── HistoryBusy (history.store)  another process writes
"""

from __future__ import annotations


class HistoryError(Exception):
    """The message is for people."""


class Refused(HistoryError):
    """The caller gave something that cannot be right; nothing was changed."""
