"""What history refuses, with what was expected, what came and what to do.

HistoryError
├── Refused     a sample, file, name or filter that cannot be right; nothing was changed
└── HistoryBusy another process holds the history, or it is not ready: try again
"""

from __future__ import annotations


class HistoryError(Exception):
    """The message is for people."""


class Refused(HistoryError):
    """The caller gave something that cannot be right; nothing was changed."""


class HistoryBusy(HistoryError):
    """Another process holds the history, and did not finish in time; try again."""
