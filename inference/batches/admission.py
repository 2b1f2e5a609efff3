"""How many jobs one owner may have that have not ended."""

from __future__ import annotations

from django.conf import settings

from inference.core.tenants import is_counted
from inference.errors import Busy
from inference.models.batches import BatchJob, JobState

_COME_BACK_S = 5.0


def admit(owner: str) -> None:
    """Let the owner have one more job; within `transactions.alone("batch jobs")` where it is written.

    Raises:
        Busy: as many of theirs run as settings.WEBPOOL_MAX_JOBS_PER_OWNER allows.
    """
    if not is_counted(owner):
        return
    most = settings.WEBPOOL_MAX_JOBS_PER_OWNER
    mine = BatchJob.objects.filter(owner=owner, state=JobState.RUNNING).count()
    if mine >= most:
        raise Busy(
            f"{mine} batch jobs of {owner} run, the limit for one owner is {most} "
            "(WEBPOOL_MAX_JOBS_PER_OWNER); cancel one or wait until one has ended",
            retry_after_s=_COME_BACK_S,
        )
