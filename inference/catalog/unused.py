"""Plans that nothing uses any more are forgotten with their files; asked for again, they are cut again."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef

from inference.catalog import registry
from inference.models import GenerationSession, Plan, PlanStep, Run
from inference.store import transactions

log = logging.getLogger(__name__)


def forget_unused_plans(now: datetime) -> int:
    """Delete plans that are older than runs are kept, and of which no run and no text is left; how many.

    A process that remembers one notices when it inserts a run of it, and has it cut again.
    """
    before = now - timedelta(days=settings.WEBPOOL_RUN_RETENTION_DAYS)
    runs = Run.objects.filter(plan=OuterRef("pk"))
    texts = GenerationSession.objects.filter(plan=OuterRef("pk"))
    unused = Plan.objects.filter(~Exists(runs), ~Exists(texts), created_at__lt=before)
    gone = 0
    for plan_id in unused.order_by("pk").values_list("pk", flat=True):
        files = _forget(plan_id)
        if files is not None:
            registry.discard(files)
            gone += 1
    return gone


@transactions.repeated
def _forget(plan_id: int) -> set[str] | None:
    """Delete its rows; returns the files that they named, None: it is used again, or gone."""
    with transactions.together():
        plan = Plan.objects.select_for_update().filter(pk=plan_id).first()  # no run of it comes now
        if plan is None or plan.runs.exists() or plan.generations.exists():
            return None
        files = set(PlanStep.objects.filter(plan=plan).values_list("sha256", flat=True))
        log.info("plan %s of model %s: nothing used it", plan.way, plan.model_id)
        plan.delete()
    return files
