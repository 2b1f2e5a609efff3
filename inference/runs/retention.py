"""Forget old runs by age and by number; tensors expire by themselves."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings

from inference.models import Attempt, GenerationSession, Run
from inference.store import outbox


def forget_old_runs(now: datetime) -> int:
    """Delete ended runs and texts past their retention, the oldest beyond the number kept; returns how many.

    This runs in the history worker, after `outbox.hand_over`; a run with an attempt that is not history yet
    is kept.
    """
    ended = Run.objects.filter(finished_at__isnull=False)
    old = ended.filter(finished_at__lt=now - timedelta(days=settings.WEBPOOL_RUN_RETENTION_DAYS))
    surplus = ended.order_by("-finished_at")[settings.WEBPOOL_MAX_RUNS_KEPT :]
    ids = set(old.values_list("pk", flat=True)) | set(surplus.values_list("pk", flat=True))
    not_taken = Attempt.objects.filter(pk__gt=outbox.taken()).values("shard__run")
    ids -= set(Run.objects.filter(pk__in=not_taken).values_list("pk", flat=True))
    for run_id in ids:
        Run.objects.filter(pk=run_id).delete()
    return len(ids) + _forget_old_texts(now)


def _forget_old_texts(now: datetime) -> int:
    ended = GenerationSession.objects.filter(finished_at__isnull=False)
    old = ended.filter(finished_at__lt=now - timedelta(days=settings.WEBPOOL_RUN_RETENTION_DAYS))
    surplus = ended.order_by("-finished_at")[settings.WEBPOOL_MAX_RUNS_KEPT :]
    ids = set(old.values_list("pk", flat=True)) | set(surplus.values_list("pk", flat=True))
    for session_id in ids:
        GenerationSession.objects.filter(pk=session_id).delete()
    return len(ids)
