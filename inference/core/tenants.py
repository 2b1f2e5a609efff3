"""Whose share of the pool something takes: a key's, a person's, or that of nobody in particular."""

from __future__ import annotations

from typing import Final

_NOBODY: Final = ("", "anonymous", "command line", "python")
_PACED: Final = ("batch ", "comparison ")


def is_counted(tenant: str) -> bool:
    """Whether quotas hold for it.

    Not counted are callers of this machine who are nobody in particular, scripts, and batch jobs and
    comparisons, which pace themselves.
    """
    return tenant not in _NOBODY and not tenant.startswith(_PACED)
