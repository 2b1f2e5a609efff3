"""Claims and results: every move of a run's steps, each one transaction, each idempotent.

1. `claim`            queued → running, if the fence still fits; counts the attempt.
2. `record_success`   running → done; decides which steps became ready and where they go.
3. `record_failure`   running → queued elsewhere, ready, or failed, as `core.retry` decides.
4. `owner_died`       everything a dead worker held is taken from it at once.
5. `move_queued`      what waits for a browser that is being repaired goes elsewhere.

Redis is asked before a transaction or after its commit, never inside: a store that hangs must not keep
the database locked.
"""

from __future__ import annotations

import copy
import functools
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import redis.exceptions
from django.db import DatabaseError, transaction
from django.db.models import F
from django.utils import timezone

from inference import dispatch, tensors
from inference.core import retry
from inference.core.placement import BrowserView
from inference.endings import UNHEARD, Actions, finish, follow_up, succeed, wake_waiters
from inference.models import (
    Attempt,
    Outcome,
    PlanShard,
    Run,
    RunShard,
    RunState,
    ShardState,
    StepKind,
)
from inference.pool_view import snapshot
from inference.statements import Insert, Select, Update
from inference.tensors import TensorRef

log = logging.getLogger(__name__)

_CLAIM = Select(
    RunShard,
    ("claimed_at", "id", "fence"),
    sql=(Path(__file__).parent / "sql" / "claim.sql").read_text(),
)
_RUN = Select(Run, ("id",))
_STEPS = Select(RunShard, ("run_id",))
_DONE = Update(
    RunShard,
    {"state": "'done'", "outputs": None, "finished_at": None},
    {"id": None, "fence": None, "state": "'running'"},
)
_PLACE = Update(
    RunShard,
    dict.fromkeys(("state", "browser", "fence", "avoid", "ready_at", "queued_at")),
    {"id": None},
)
_ATTEMPT = Insert(Attempt)


def claim(step_id: int, fence: int, now: datetime) -> RunShard | None:
    """Take the step; None when somebody else has it or it moved on, a normal answer."""
    taken = _CLAIM(claimed_at=now, id=step_id, fence=fence)
    if not taken:
        return None
    (step,) = taken
    (step.run,) = _RUN(id=step.run_id)
    _with_plan(step)
    return step


def _with_plan(step: RunShard) -> None:
    step.plan_shard = _plan_shard(step.plan_shard_id)
    step.run.plan = step.plan_shard.plan
    step.run.model = step.plan_shard.plan.model


@functools.lru_cache(maxsize=4096)
def _plan_shard(pk: int) -> PlanShard:
    """A step of a plan with its plan and model, remembered by this process: they never change."""
    related = PlanShard.objects.select_related("plan__model")
    return related.defer("plan__model__summary").get(pk=pk)


@functools.lru_cache(maxsize=1024)
def _plan_steps(plan_id: int) -> tuple[PlanShard, ...]:
    return tuple(PlanShard.objects.filter(plan=plan_id).order_by("index"))


def steps_of(run: Run) -> list[RunShard]:
    """The run's steps as they are, in order of index, with their plan's."""
    steps = sorted(_STEPS(run_id=run.pk), key=lambda step: step.index)
    for step in steps:
        step.plan_shard = _plan_shard(step.plan_shard_id)
        step.run = run
    return steps


def input_refs(shard: RunShard) -> list[tuple[str, TensorRef]]:
    """Where the shard's inputs are: the run's own, or what earlier steps left."""
    available: dict[str, Any] = dict(shard.run.inputs)
    if shard.plan_shard.depends_on:
        for step in steps_of(shard.run):
            if step.index in shard.plan_shard.depends_on:
                available.update(step.outputs)
    named = []
    for port in shard.plan_shard.inputs:
        item = available.get(port.get("tensor", port["name"]))
        if item is None:
            continue  # an input with a declared default that the caller left out
        if "parts" in item:
            item = item["parts"][shard.plan_shard.batch_part]
        named.append((port["name"], TensorRef.from_json(item)))
    return named


def part_refs(join: RunShard) -> dict[str, list[TensorRef]]:
    """For each tensor that a join makes, where its parts are, in order."""
    left = {step.index: step.outputs for step in steps_of(join.run)}
    return {
        item["tensor"]: [TensorRef.from_json(left[step][tensor]) for step, tensor in item["parts"]]
        for item in join.plan_shard.join
    }


class Glance:
    """A look at the pool for what a step leads to: taken while its page computes, again when it is old."""

    _FRESH_S = 0.05

    def __init__(self, step: RunShard) -> None:
        self._wanted = any(
            step.index in later.depends_on and later.kind == StepKind.COMPUTE
            for later in _plan_steps(step.plan_shard.plan_id)
        )
        self._seen: list[BrowserView] = []
        self._taken = float("-inf")

    def take(self) -> None:
        if not self._wanted:
            return
        try:
            self._seen, self._taken = _pool(), time.monotonic()
        except DatabaseError as error:
            log.warning("the pool's load cannot be read (%s); asked again with the result", error)

    def pool(self) -> list[BrowserView]:
        if self._wanted and time.monotonic() - self._taken > self._FRESH_S:
            self._seen, self._taken = _pool(), time.monotonic()
        return self._seen


def record_success(
    shard: RunShard,
    outputs: Mapping[str, TensorRef],
    facts: Mapping[str, Any],
    glance: Glance | None = None,
) -> bool:
    """Write down a result and send what it made ready; False when the shard had moved on.

    `outputs` by the names of the file's ports.
    """
    tensor_of = shard.plan_shard.tensor_of
    attempt = Attempt(
        shard=shard,
        number=shard.attempts,
        outcome=Outcome.SUCCEEDED,
        finished_at=timezone.now(),
        **facts,
    )
    named = {tensor_of[name]: ref for name, ref in outputs.items()}
    return _record(shard, named, attempt, glance or Glance(shard))


def ask_another(
    shard: RunShard,
    outputs: Mapping[str, TensorRef],
    why: str,
    facts: Mapping[str, Any],
    *,
    must: bool,
) -> bool:
    """Keep an answer beside the shard and send it to a browser that has not answered yet.

    False, and nothing is changed, when no browser could take it now, unless one `must`: then it waits for
    one. An answer that comes too late is written down as such.
    """
    tensor_of = shard.plan_shard.tensor_of
    answer = {
        "browser": shard.browser,
        "outputs": {tensor_of[name]: ref.to_json() for name, ref in outputs.items()},
    }
    earlier = shard.doubt["answers"] if shard.doubt else []
    asked = copy.copy(shard)
    asked.doubt = {"why": why, "answers": [*earlier, answer]}
    now, pool = timezone.now(), _pool()
    if not must and why_waiting(asked, pool) is not None:
        return False
    after: Actions = []
    with transaction.atomic():
        mine = RunShard.objects.filter(
            pk=shard.pk, fence=shard.fence, state=ShardState.RUNNING
        ).update(state=ShardState.READY, fence=F("fence") + 1, browser="", doubt=asked.doubt)
        outcome = Outcome.DOUBTED if mine else Outcome.SUPERSEDED
        Attempt.objects.create(
            shard=shard, number=shard.attempts, outcome=outcome, finished_at=now, **facts
        )
        if mine:
            asked.fence += 1
            _, after = _place_again(asked, pool, now)
    follow_up(after if mine else [lambda: tensors.drop(outputs.values())])
    return True


def drop_answers(shard: RunShard) -> None:
    """Free the answers that were kept to be confirmed."""
    answers = shard.doubt["answers"] if shard.doubt else ()
    kept = [TensorRef.from_json(ref) for answer in answers for ref in answer["outputs"].values()]
    follow_up([lambda: tensors.drop(kept)])


def record_join(join: RunShard, outputs: Mapping[str, TensorRef]) -> bool:
    """Write down what a join made and send what it made ready; False when it had moved on."""
    return _record(join, outputs, None, Glance(join))


def _record(
    step: RunShard, outputs: Mapping[str, TensorRef], attempt: Attempt | None, glance: Glance
) -> bool:
    now = timezone.now()
    pool = glance.pool()
    after: Actions = []
    stored = {name: ref.to_json() for name, ref in outputs.items()}
    with transaction.atomic():
        mine = _DONE(outputs=stored, finished_at=now, id=step.pk, fence=step.fence)
        if attempt is not None:
            attempt.outcome = Outcome.SUCCEEDED if mine else Outcome.SUPERSEDED
            _ATTEMPT([attempt])
        if mine:
            step.state, step.outputs = ShardState.DONE, stored
            after = _advance(step, pool, now)
    follow_up(after if mine else [lambda: tensors.drop(outputs.values())])
    return bool(mine)


def _pool() -> list[BrowserView]:
    """The pool as it is; empty while Redis does not answer, so that shards wait for the sweep."""
    try:
        return snapshot()
    except redis.exceptions.RedisError as error:
        log.warning("the pool's state cannot be read (%s); ready shards wait", error)
        return []


def _advance(finished: RunShard, pool: Sequence[BrowserView], now: datetime) -> Actions:
    """Inside the transaction of a result: promote steps, or finish the run."""
    run = finished.run
    if len(_plan_steps(run.plan_id)) == 1:
        return succeed(run, [finished], now)
    steps = steps_of(run)
    done = {step.index for step in steps if step.state == ShardState.DONE}
    if len(done) == len(steps):
        return succeed(run, steps, now)
    ready = [
        step
        for step in steps
        if step.state == ShardState.WAITING and done.issuperset(step.plan_shard.depends_on)
    ]
    if not ready:
        return []
    sent, stuck = dispatch.assign(run, ready, steps, pool, now)
    _save_placed(ready)
    if hopeless := _fail_if_hopeless(run, stuck, now):
        return hopeless
    return [lambda: dispatch.send_ready(sent, steps)]


def _save_placed(steps: Sequence[RunShard]) -> None:
    for step in steps:
        _PLACE(
            state=step.state, browser=step.browser, fence=step.fence, avoid=step.avoid,
            ready_at=step.ready_at, queued_at=step.queued_at, id=step.pk,
        )  # fmt: skip


def _fail_if_hopeless(run: Run, stuck: Sequence[dispatch.NoBrowser], now: datetime) -> Actions:
    for none in stuck:
        if none.lasting:
            return finish(run, RunState.FAILED, now, category="no_browser", error=str(none))
    return []


def record_failure(shard: RunShard, category: str, message: str, facts: Mapping[str, Any]) -> None:
    """Write down a failed attempt, then retry, move or give up as `core.retry` decides."""
    _give_up_attempt(shard, Outcome.FAILED, category, message, facts)


def fail_run(shard: RunShard, category: str, message: str, facts: Mapping[str, Any]) -> None:
    """End the run because of this shard: no retry anywhere could help."""
    now = timezone.now()
    with transaction.atomic():
        mine = RunShard.objects.filter(
            pk=shard.pk, fence=shard.fence, state=ShardState.RUNNING
        ).update(state=ShardState.FAILED, finished_at=now)
        Attempt.objects.create(
            shard=shard,
            number=shard.attempts,
            outcome=Outcome.FAILED,
            error_category=category,
            error=message,
            finished_at=now,
            **facts,
        )
        error = f"shard {shard.index} on {shard.browser}: {message}"
        after = (
            finish(shard.run, RunState.FAILED, now, category=category, error=error) if mine else []
        )
    follow_up(after)


def owner_died(browser_id: str, reason: str, *, category: str = "browser_crash") -> int:
    """Take every shard from a browser whose worker or lease is gone, and send each elsewhere at once.

    Queued ones too: a worker holds the next message or two in its hands, and they died with it. What is
    left in its queue is thrown away first: a message that comes later belongs to a later choice.
    Returns how many shards were taken.
    """
    dispatch.forget_messages(browser_id)
    states = [ShardState.RUNNING, ShardState.QUEUED]
    held = RunShard.objects.filter(browser=browser_id, state__in=states).select_related(
        "run", "plan_shard", "run__plan", "run__model"
    )
    taken = sum(
        lose(shard, category, reason) if shard.state == ShardState.RUNNING else redispatch(shard)
        for shard in held
    )
    wake_waiters(timezone.now() - UNHEARD, browser_id)
    return taken


def queued_on(browser_id: str) -> list[RunShard]:
    """What waits for a browser, first in first."""
    related = RunShard.objects.select_related("run", "plan_shard", "run__plan", "run__model")
    queued = related.defer("run__model__summary").filter(
        browser=browser_id, state=ShardState.QUEUED
    )
    return list(queued.order_by("queued_at", "pk"))


def move_queued(browser_id: str) -> int:
    """Send what waits for a browser that takes no work now to others; returns how many were sent.

    A shard that no other can take becomes ready, and goes where the first browser is that can.
    """
    return sum(map(redispatch, queued_on(browser_id)))


def lose(shard: RunShard, category: str, reason: str) -> bool:
    """Give up an attempt of which nothing more will be heard; False when the shard had moved on."""
    facts = {"browser": shard.browser, "started_at": shard.claimed_at or timezone.now()}
    return _give_up_attempt(shard, Outcome.LOST, category, reason, facts)


def _give_up_attempt(
    shard: RunShard, outcome: Outcome, category: str, message: str, facts: Mapping[str, Any]
) -> bool:
    now = timezone.now()
    decision = retry.decide(
        category,
        attempts=shard.attempts,
        max_retries=shard.run.max_retries,
        already_avoided=shard.browser in shard.avoid,
    )
    pool = _pool()
    after: Actions = []
    with transaction.atomic():
        still_mine = RunShard.objects.filter(
            pk=shard.pk, fence=shard.fence, state=ShardState.RUNNING
        ).update(state=ShardState.READY, fence=F("fence") + 1, browser="")
        if not still_mine:
            return False
        Attempt.objects.create(
            shard=shard,
            number=shard.attempts,
            outcome=outcome,
            error_category=category,
            error=message,
            finished_at=now,
            **facts,
        )
        failed_on, shard.fence = shard.browser, shard.fence + 1
        if decision.next == retry.Next.FAIL:
            shard.state, shard.browser, shard.finished_at = ShardState.FAILED, failed_on, now
            shard.save(update_fields=["state", "browser", "finished_at"])
            error = f"shard {shard.index} on {failed_on}: {message} ({decision.reason})"
            after = finish(shard.run, RunState.FAILED, now, category=category, error=error)
        else:
            shard.avoid = {**shard.avoid, failed_on: category}
            _, after = _place_again(
                shard, pool, now, prefer_same=decision.next == retry.Next.RETRY_SAME
            )
    log.warning(
        "shard %s attempt %d on %s: %s: %s → %s",
        shard, shard.attempts, failed_on, category, message, decision.next,
    )  # fmt: skip
    follow_up(after)
    return True


def redispatch(shard: RunShard) -> bool:
    """Send a queued or ready shard again, wherever is best now; False when it had moved on or waits."""
    now, pool = timezone.now(), _pool()
    if shard.state == ShardState.READY and (none := why_waiting(shard, pool)) and not none.lasting:
        return False  # as before: nothing to write down
    with transaction.atomic():
        still = RunShard.objects.filter(
            pk=shard.pk, fence=shard.fence, state__in=[ShardState.QUEUED, ShardState.READY]
        ).update(state=ShardState.READY, fence=F("fence") + 1, browser="")
        if not still:
            return False
        shard.fence += 1
        sent, after = _place_again(shard, pool, now)
    follow_up(after)
    return sent


def why_waiting(shard: RunShard, pool: Sequence[BrowserView]) -> dispatch.NoBrowser | None:
    """Why no browser of the pool takes a ready shard; None when one would."""
    _, stuck = dispatch.assign(shard.run, [copy.copy(shard)], (), pool)
    return stuck[0] if stuck else None


def _place_again(
    shard: RunShard, pool: Sequence[BrowserView], now: datetime, *, prefer_same: bool = False
) -> tuple[bool, Actions]:
    """Whether a browser was found, and what to do after the commit."""
    siblings = [step for step in steps_of(shard.run) if step.pk != shard.pk]
    avoid = shard.avoid
    if prefer_same:  # a transient error does not count against the browser the first time
        shard.avoid = {}
    sent, stuck = dispatch.assign(shard.run, [shard], siblings, pool, now)
    shard.avoid = avoid
    _save_placed([shard])
    if hopeless := _fail_if_hopeless(shard.run, stuck, now):
        return False, hopeless
    return bool(sent), [lambda: dispatch.send(sent)]


def join_again(join: RunShard) -> bool:
    """Send a join again whose message or worker is gone; False when it had moved on."""
    now = timezone.now()
    still = RunShard.objects.filter(
        pk=join.pk, fence=join.fence, state__in=[ShardState.QUEUED, ShardState.RUNNING]
    ).update(state=ShardState.QUEUED, fence=F("fence") + 1, queued_at=now)
    if not still:
        return False
    join.fence += 1
    dispatch.send([join])
    return True
