"""A run's deadline: after it nothing more is computed for the run, and no answer counts.

`deadline_at` of the run's row decides, wherever it is noticed first:

1. `runs`, `serving`   whoever waits for the run ends it at that moment; a run whose deadline passed before
                       its shards could be sent is ended instead.
2. `claims`            a step is not claimed any more.
3. `results`           a result or a failure that comes later ends the run.
4. `sweep`             ends, within a second, the runs that nobody waits for.

What a browser computes just then goes on: it cannot be stopped without losing the models that it holds.
"""

from __future__ import annotations

from datetime import datetime

import redis.exceptions

from browsers import clock
from browsers.core.failures import Category
from inference.ledger import endings, redispatch
from inference.ledger.endings import Actions
from inference.models import Run, RunStep, StepKind, StepState
from inference.scheduling.pool_view import snapshot


def left_s(run: Run) -> float:
    """Seconds until the deadline; zero or less: it has passed."""
    return (run.deadline_at - clock.now()).total_seconds()


def finish_late(run: Run, now: datetime) -> Actions:
    """End a run whose deadline has passed, inside the caller's transaction; nothing to do: it has not.

    Its open steps are cancelled under new fences, so that nothing of them counts from here on.
    """
    if now < run.deadline_at:
        return []
    error = _error(run, "no answer")
    return endings.fail(run, now, category=Category.TIMEOUT, error=error)


def end_late(run: Run, now: datetime) -> bool:
    """End a run whose deadline has passed and say what it waited for; False: it has not, or had ended."""
    if now < run.deadline_at:
        return False
    category, why = Category.TIMEOUT, "no answer"
    waiting = _waiting(run)
    if waiting is not None:
        category, why = Category.NO_BROWSER, _why_waiting(waiting)
    return endings.end_failed(run, category=category, error=_error(run, why))


def _error(run: Run, why: str) -> str:
    return f"{why} by the deadline ({run.deadline_at.isoformat(timespec='milliseconds')})"


def _waiting(run: Run) -> RunStep | None:
    """A shard of the run that found no browser."""
    related = RunStep.objects.select_related("run", "plan_step", "run__plan", "run__model")
    shards = related.defer("run__model__summary").filter(run=run.pk, kind=StepKind.COMPUTE)
    return shards.filter(state=StepState.READY).first()


def _why_waiting(shard: RunStep) -> str:
    try:
        none = redispatch.why_waiting(shard, snapshot())
    except redis.exceptions.RedisError as error:
        return f"no browser for shard {shard.index} (Redis does not answer: {error})"
    return str(none) if none else f"no browser for shard {shard.index}"
