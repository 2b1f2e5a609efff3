"""Forget batch jobs by age, with their files."""

from __future__ import annotations

import contextlib
import shutil
import time
from datetime import datetime, timedelta

from django.conf import settings

from inference.batches import storage
from inference.models.batches import BatchJob

_ABANDONED_AFTER_S = 86_400.0


def forget_old_jobs(now: datetime) -> int:
    """Delete jobs that ended longer ago than runs are kept, and folders that belong to none.

    A folder without a row is of a job that is being prepared, or of one whose model was deleted.
    """
    before = now - timedelta(days=settings.WEBPOOL_RUN_RETENTION_DAYS)
    old = list(BatchJob.objects.filter(finished_at__lt=before).values_list("pk", flat=True))
    for job_id in old:
        BatchJob.objects.filter(pk=job_id).delete()
        shutil.rmtree(storage.folder_of(job_id), ignore_errors=True)
    _remove_abandoned()
    return len(old)


def _remove_abandoned() -> None:
    if not storage.root().is_dir():
        return
    known = {str(pk) for pk in BatchJob.objects.values_list("pk", flat=True)}
    for folder in storage.root().iterdir():
        with contextlib.suppress(FileNotFoundError):  # it got its final name just now
            age_s = time.time() - folder.stat().st_mtime
            if folder.name not in known and age_s > _ABANDONED_AFTER_S:
                shutil.rmtree(folder, ignore_errors=True)
