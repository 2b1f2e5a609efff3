"""Whose share of the pool something takes: a key's, a person's, or that of nobody in particular.

The runs of a batch job and of a comparison have an owner of their own, by which they are found again; their
tenant is who asked for the job or the comparison.
"""

from __future__ import annotations

from typing import Final

BATCH: Final = "batch "
_NOBODY: Final = ("", "anonymous", "command line", "python")
_OWN: Final = (BATCH, "comparison ")


def is_counted(tenant: str) -> bool:
    """Whether quotas hold for it.

    Not counted are callers of this machine who are nobody in particular, scripts, and the batch jobs and
    comparisons that nobody in particular asked for.
    """
    return tenant not in _NOBODY and not tenant.startswith(_OWN)


def is_of_batch(owner: str) -> bool:
    """Whether it owns a run of a batch job, which leaves room for what somebody waits for."""
    return owner.startswith(BATCH)
