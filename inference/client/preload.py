"""Load a plan's shards into their browsers before the first request."""

from __future__ import annotations

from celery import group
from celery.exceptions import TimeoutError as CeleryTimeout
from django.conf import settings

from browsers.queues import queue_of
from inference.catalog import plans, registry
from inference.core.placement import NoBrowser, place
from inference.documents import JsonObject
from inference.errors import InvalidRequest, Unavailable
from inference.models import StepKind
from inference.runs.requests import RunRequest, plan_for, pool_for, resolve
from inference.scheduling.dispatch import shard_view
from inference.scheduling.wishes import wishes_from


def load_plan(request: RunRequest) -> JsonObject:
    """Cut the model as the request says and load each shard where placement puts it.

    Raises:
        InvalidRequest: a shard fits no browser.
        Unavailable: a browser did not load its shard in time, or refused it.
    """
    from inference.tasks import load_shard

    plans.clear_cache()  # this is seldom: look what the model's name stands for now
    model = registry.cached_model(request.model)
    pool = pool_for(request)
    request, _ = resolve(request, model, pool, rows=None)
    plan, steps = plan_for(request, model, pool, rows=None)
    plan_steps = [step for step in steps if step.kind == StepKind.COMPUTE]
    wishes = wishes_from(
        request.browsers, request.platform, request.pins, critical=request.critical
    )
    views = [shard_view(step) for step in plan_steps]
    try:
        placed = place(views, pool, wishes)
    except NoBrowser as none:
        raise InvalidRequest(str(none)) from none
    loads = group(
        load_shard.s(shard.sha256, where.platform).set(queue=queue_of(where.browser))
        for shard, where in zip(plan_steps, placed, strict=True)
    )()
    try:
        loaded = loads.get(timeout=settings.WEBPOOL_RUN_DEADLINE_S)
    except CeleryTimeout as error:
        raise Unavailable(
            f"not every shard of {plan} was loaded within {settings.WEBPOOL_RUN_DEADLINE_S:g} s"
        ) from error
    failed = [item["error"] for item in loaded if item["error"]]
    if failed:
        raise Unavailable(f"{plan} could not be loaded: {'; '.join(failed)}")
    return {
        "model": model.name,
        "strategy": str(plan.strategy),
        "shards": [
            {
                "index": shard.index,
                "sha256": shard.sha256,
                "file_bytes": shard.file_bytes,
                "browser": where.browser,
                "load_ms": item["load_ms"],
            }
            for shard, where, item in zip(plan_steps, placed, loaded, strict=True)
        ],
    }
