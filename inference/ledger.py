"""Claims and results: every move of a run and its shards, each one transaction, each idempotent.

1. `claim`          queued → running, if the fence still fits; counts the attempt.
2. `record_success` running → done; decides which shards became ready and where they go.
3. `record_failure` running → queued elsewhere, ready, or failed, as `core.retry` decides.
4. `owner_died`     everything a dead worker held is taken from it at once.
5. `finish`         the run becomes terminal, once; waiters are woken.

Redis is asked before a transaction or after its commit, never inside: a store that hangs must not keep
the database locked. What follows a commit is not worth failing for: the sweep makes it good.
"""

from __future__ import annotations

import copy
import functools
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import redis.exceptions
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from inference import completion, dispatch, tensors
from inference.core import retry
from inference.core.placement import BrowserView
from inference.models import (
    Attempt,
    Outcome,
    PlanShard,
    Run,
    RunShard,
    RunState,
    ShardState,
    Strategy,
)
from inference.pool_view import snapshot
from inference.tensors import TensorRef

log = logging.getLogger(__name__)
_CLAIM = (Path(__file__).parent / "sql" / "claim.sql").read_text()
OPEN_STATES = (ShardState.WAITING, ShardState.READY, ShardState.QUEUED, ShardState.RUNNING)
# How long ago a run may have ended without a word, when the one that ended it has died.
_UNHEARD = timedelta(seconds=10)
Actions = list[Callable[[], None]]


def claim(shard_id: int, fence: int, now: datetime) -> RunShard | None:
    """Take the shard; None when somebody else has it or it moved on, a normal answer."""
    moment = connection.ops.adapt_datetimefield_value(now)
    taken = list(RunShard.objects.raw(_CLAIM, [moment, shard_id, fence]))
    if not taken:
        return None
    shard = taken[0]
    shard.plan_shard = _plan_shard(shard.plan_shard_id)
    shard.run.plan = shard.plan_shard.plan
    shard.run.model = shard.plan_shard.plan.model
    return shard


@functools.lru_cache(maxsize=4096)
def _plan_shard(pk: int) -> PlanShard:
    """A shard of a plan with its plan and model, remembered by this process: they never change."""
    related = PlanShard.objects.select_related("plan__model")
    return related.defer("plan__model__summary").get(pk=pk)


def input_refs(shard: RunShard) -> list[tuple[str, TensorRef]]:
    """Where the shard's inputs are: the run's own, or what earlier shards left."""
    available: dict[str, Any] = dict(shard.run.inputs)
    if shard.plan_shard.depends_on:
        done = shard.run.shards.filter(index__in=shard.plan_shard.depends_on)
        for outputs in done.values_list("outputs", flat=True):
            available.update(outputs)
    named = []
    for port in shard.plan_shard.inputs:
        item = available.get(port["name"])
        if item is None:
            continue  # an input with a declared default that the caller left out
        if "parts" in item:
            item = item["parts"][shard.index]
        named.append((port["name"], TensorRef.from_json(item)))
    return named


def record_success(
    shard: RunShard, outputs: Mapping[str, TensorRef], facts: Mapping[str, Any]
) -> bool:
    """Write down a result and send what it made ready; False when the shard had moved on."""
    now = timezone.now()
    plan = shard.run.plan
    leads_on = plan.strategy == Strategy.LAYER and shard.index + 1 < plan.num_shards
    pool = _pool() if leads_on else []
    sent: list[RunShard] = []
    after: Actions = []
    with transaction.atomic():
        mine = RunShard.objects.filter(
            pk=shard.pk, fence=shard.fence, state=ShardState.RUNNING
        ).update(
            state=ShardState.DONE,
            outputs={name: ref.to_json() for name, ref in outputs.items()},
            finished_at=now,
        )
        Attempt.objects.create(
            shard=shard,
            number=shard.attempts,
            outcome=Outcome.SUCCEEDED if mine else Outcome.SUPERSEDED,
            finished_at=now,
            **facts,
        )
        if mine:
            shard.state = ShardState.DONE
            shard.outputs = {name: ref.to_json() for name, ref in outputs.items()}
            sent, after = _advance(shard, pool, now)
    if not mine:
        after = [lambda: tensors.drop(outputs.values())]
    _follow_up(sent, after)
    return bool(mine)


def _pool() -> list[BrowserView]:
    """The pool as it is; empty while Redis does not answer, so that shards wait for the sweep."""
    try:
        return snapshot()
    except redis.exceptions.RedisError as error:
        log.warning("the pool's state cannot be read (%s); ready shards wait", error)
        return []


def _follow_up(sent: Sequence[RunShard], after: Actions) -> None:
    """What comes after a commit; while Redis is down it is left to the sweep and to expiry."""
    dispatch.send(sent)
    for action in after:
        try:
            action()
        except redis.exceptions.RedisError as error:
            log.warning("after a commit: %s; waiters are woken by the sweep", error)


def _advance(
    finished: RunShard, pool: Sequence[BrowserView], now: datetime
) -> tuple[list[RunShard], Actions]:
    """Inside the transaction of a result: promote shards, or finish the run."""
    run = finished.run
    if run.plan.num_shards == 1:
        return [], _complete(run, [finished], now)
    shards = list(run.shards.all())
    for shard in shards:
        shard.plan_shard = _plan_shard(shard.plan_shard_id)
    done = {shard.index for shard in shards if shard.state == ShardState.DONE}
    if len(done) == len(shards):
        if run.plan.strategy != Strategy.DATA:
            return [], _complete(run, shards, now)
        if any(shard.fence > 1 for shard in shards):  # the chord lost a member: merge without it
            return [], [lambda: dispatch.send_merge(str(run.pk))]
        return [], []
    ready = [
        shard
        for shard in shards
        if shard.state == ShardState.WAITING and done.issuperset(shard.plan_shard.depends_on)
    ]
    if not ready:
        return [], []
    sent, stuck = dispatch.assign(run, ready, shards, pool, now)
    for shard in ready:
        shard.save(update_fields=["state", "browser", "fence", "ready_at", "queued_at"])
    return sent, _fail_if_hopeless(run, stuck, now)


def _fail_if_hopeless(run: Run, stuck: Sequence[dispatch.NoBrowser], now: datetime) -> Actions:
    for none in stuck:
        if none.lasting:
            return finish(run, RunState.FAILED, now, category="no_browser", error=str(none))
    return []


def _complete(run: Run, shards: Sequence[RunShard], now: datetime) -> Actions:
    """Every shard is done: the model's outputs are known by reference."""
    available: dict[str, Any] = dict(run.inputs)
    for shard in shards:
        available.update(shard.outputs)
    outputs = {port["name"]: available[port["name"]] for port in run.model.outputs}
    after = finish(run, RunState.SUCCEEDED, now, outputs=outputs)
    return (
        [*after, lambda: _drop_all_but(outputs, run, [shard.outputs for shard in shards])]
        if after
        else []
    )


def finish(
    run: Run,
    state: RunState,
    now: datetime,
    *,
    outputs: Mapping[str, Any] | None = None,
    category: str = "",
    error: str = "",
) -> Actions:
    """Make the run terminal inside the caller's transaction; returns what to do after its commit."""
    won = Run.objects.filter(pk=run.pk, state=RunState.RUNNING).update(
        state=state,
        outputs=dict(outputs or {}),
        error_category=category,
        error=error,
        finished_at=now,
    )
    if not won:
        return []
    if state != RunState.SUCCEEDED:
        run.shards.filter(state__in=OPEN_STATES).update(
            state=ShardState.CANCELLED, fence=F("fence") + 1, finished_at=now
        )
    if state == RunState.SUCCEEDED:
        return [lambda: completion.signal(run.pk)]
    left = list(run.shards.values_list("outputs", flat=True))
    return [lambda: completion.signal(run.pk), lambda: _drop_all_but({}, run, left)]


def end(run: Run, state: RunState, *, category: str = "", error: str = "") -> bool:
    """Make the run terminal in a transaction of its own; False when it already was."""
    with transaction.atomic():
        after = finish(run, state, timezone.now(), category=category, error=error)
    _follow_up((), after)
    return bool(after)


def wake_waiters(since: datetime, browser_id: str = "") -> None:
    """Signal again every run that ended since then (with that browser's help): it may be unheard.

    Whoever ends a run signals it after the commit, and may die or lose Redis between the two.
    """
    ended = Run.objects.filter(finished_at__gte=since).exclude(state=RunState.RUNNING)
    if browser_id:
        ended = ended.filter(shards__browser=browser_id).distinct()
    completion.signal(*ended.order_by().values_list("pk", flat=True))


def drop_tensors(run: Run) -> None:
    """Free the inputs of a run that was not written down after all."""
    _follow_up((), [lambda: _drop_all_but({}, run, ())])


def _drop_all_but(
    outputs: Mapping[str, Any], run: Run, computed: Sequence[Mapping[str, Any]]
) -> None:
    """Free everything a terminal run stored, except its outputs."""
    kept = {item["key"] for item in outputs.values()}
    stored: list[TensorRef] = []
    for item in run.inputs.values():
        stored += [TensorRef.from_json(part) for part in item.get("parts", [item])]
    for made in computed:
        stored += [TensorRef.from_json(item) for item in made.values()]
    tensors.drop(ref for ref in stored if ref.key not in kept)


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
    _follow_up((), after)


def owner_died(browser_id: str, reason: str) -> int:
    """Take every shard from a browser whose worker or lease is gone, and send each elsewhere at once.

    Queued ones too: a worker holds the next message or two in its hands, and they died with it.
    Returns how many shards were taken.
    """
    states = [ShardState.RUNNING, ShardState.QUEUED]
    held = RunShard.objects.filter(browser=browser_id, state__in=states).select_related(
        "run", "plan_shard", "run__plan", "run__model"
    )
    taken = sum(
        lose(shard, "browser_crash", reason)
        if shard.state == ShardState.RUNNING
        else redispatch(shard)
        for shard in held
    )
    wake_waiters(timezone.now() - _UNHEARD, browser_id)
    return taken


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
    sent: list[RunShard] = []
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
            sent, after = _place_again(
                shard, pool, now, prefer_same=decision.next == retry.Next.RETRY_SAME
            )
    log.warning(
        "shard %s attempt %d on %s: %s: %s → %s",
        shard, shard.attempts, failed_on, category, message, decision.next,
    )  # fmt: skip
    _follow_up(sent, after)
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
    _follow_up(sent, after)
    return bool(sent)


def why_waiting(shard: RunShard, pool: Sequence[BrowserView]) -> dispatch.NoBrowser | None:
    """Why no browser of the pool takes a ready shard; None when one would."""
    _, stuck = dispatch.assign(shard.run, [copy.copy(shard)], (), pool)
    return stuck[0] if stuck else None


def _place_again(
    shard: RunShard, pool: Sequence[BrowserView], now: datetime, *, prefer_same: bool = False
) -> tuple[list[RunShard], Actions]:
    siblings = [s for s in shard.run.shards.all() if s.pk != shard.pk]
    avoid = shard.avoid
    if prefer_same:  # a transient error does not count against the browser the first time
        shard.avoid = {}
    sent, stuck = dispatch.assign(shard.run, [shard], siblings, pool, now)
    shard.avoid = avoid
    shard.save(update_fields=["state", "browser", "fence", "avoid", "ready_at", "queued_at"])
    return sent, _fail_if_hopeless(shard.run, stuck, now)


def merge(run_id: uuid.UUID | str) -> bool:
    """Join the parts of a data-parallel run; idempotent, and False while parts are missing."""
    run = Run.objects.select_related("model", "plan").get(pk=run_id)
    shards = list(run.shards.order_by("index"))
    if run.state != RunState.RUNNING or any(s.state != ShardState.DONE for s in shards):
        return False
    try:
        merged = [_joined(port["name"], shards) for port in run.model.outputs]
        refs = tensors.store(run.pk, merged)
    except (tensors.TensorLost, ValueError, redis.exceptions.OutOfMemoryError) as error:
        category = "tensor_lost" if isinstance(error, tensors.TensorLost) else "internal"
        end(run, RunState.FAILED, category=category, error=f"parts could not be joined: {error}")
        return False
    outputs = {tensor.name: ref.to_json() for tensor, ref in zip(merged, refs, strict=True)}
    with transaction.atomic():
        after = finish(run, RunState.SUCCEEDED, timezone.now(), outputs=outputs)
    if not after:
        _follow_up((), [lambda: tensors.drop(refs)])
        return False
    made = [shard.outputs for shard in shards]
    _follow_up((), [*after, lambda: _drop_all_but(outputs, run, made)])
    return True


def _joined(name: str, shards: Sequence[RunShard]) -> tensors.WireTensor:
    refs = [(name, TensorRef.from_json(shard.outputs[name])) for shard in shards]
    return join_rows(name, tensors.fetch(refs))


def join_rows(name: str, parts: Sequence[tensors.WireTensor]) -> tensors.WireTensor:
    """Concatenate tensors along their first axis: in C order their bytes follow one another."""
    first = parts[0]
    for part in parts[1:]:
        if (part.dtype, part.shape[1:]) != (first.dtype, first.shape[1:]):
            raise ValueError(
                f"output {name!r} cannot be joined: parts of {first.dtype}{list(first.shape)} and "
                f"{part.dtype}{list(part.shape)}"
            )
    rows = sum(part.shape[0] for part in parts)
    data = b"".join(part.data for part in parts)
    return tensors.WireTensor(name, first.dtype, (rows, *first.shape[1:]), data)


def cancel(run_id: uuid.UUID | str, reason: str) -> bool:
    """End a run that nobody wants any more; False when it was already terminal."""
    run = Run.objects.get(pk=run_id)
    return end(run, RunState.CANCELLED, category="cancelled", error=reason)
