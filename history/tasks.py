"""Celery tasks of the history worker: thin doors. Each may run twice."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from history import recompute


@shared_task
def recompute_history() -> None:
    """Periodic: age changes what counts, even where nothing new came in."""
    if not recompute.rests(timezone.now()):
        recompute.recompute()
