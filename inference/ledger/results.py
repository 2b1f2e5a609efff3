"""Results and losses of a run's steps, each one transaction, each idempotent.

1. `record_success`   running → done; decides which steps became ready and where they go. What has
                      copies is done with the first, and the others are cancelled.
2. `ask_another`      running → queued elsewhere, its answer kept beside it.
3. `record_failure`   running → queued elsewhere, ready, or failed, as `core.retry` decides.
4. `owner_died`       everything a dead worker held is taken from it at once.

Steps are claimed in `claims`, and go where `redispatch` sends them. What comes after the run's deadline
ends the run instead (`deadlines`).

Redis is asked before a transaction or after its commit, never inside: a store that hangs must not keep
the database locked.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from django.db import DatabaseError
from django.db.models import QuerySet

from browsers import clock
from browsers.core.failures import Category
from inference.core import retry
from inference.core.lifecycle import UNDER_WAY
from inference.core.placement import BrowserView
from inference.ledger import attempts, deadlines, endings
from inference.ledger.attempts import AttemptFacts
from inference.ledger.claims import (
    all_done,
    copies,
    has_copies,
    others,
    plan_steps,
    ready_now,
    steps_of,
)
from inference.ledger.endings import UNHEARD, Actions, follow_up, succeed, wake_waiters
from inference.ledger.redispatch import (
    fail_if_hopeless,
    place_again,
    pool_now,
    redispatch,
    why_waiting,
)
from inference.models import (
    Outcome,
    Run,
    RunStep,
    StepKind,
    StepState,
)
from inference.scheduling import dispatch
from inference.store import doubts, step_moves, tensors, transactions
from inference.store.doubts import Doubt, KeptAnswer
from inference.store.tensors import TensorRef

log = logging.getLogger(__name__)


class Glance:
    """A look at the pool for what a step leads to: taken while its page computes, again when it is old."""

    _FRESH_S = 0.05

    def __init__(self, step: RunStep) -> None:
        self._wanted = any(
            step.index in later.depends_on and later.kind == StepKind.COMPUTE
            for later in plan_steps(step.plan_step.plan_id)
        )
        self._seen: list[BrowserView] = []
        self._taken = float("-inf")

    def take(self) -> None:
        if not self._wanted:
            return
        try:
            self._seen, self._taken = pool_now(), time.monotonic()
        except DatabaseError as error:
            log.warning("the pool's load cannot be read (%s); asked again with the result", error)

    def pool(self) -> list[BrowserView]:
        if self._wanted and time.monotonic() - self._taken > self._FRESH_S:
            self._seen, self._taken = pool_now(), time.monotonic()
        return self._seen


def record_success(
    shard: RunStep,
    outputs: Mapping[str, TensorRef],
    facts: AttemptFacts,
    glance: Glance | None = None,
) -> bool:
    """Write down a result and send what it made ready; False when the shard had moved on.

    `outputs` by the names of the file's ports.
    """
    tensor_of = shard.plan_step.tensor_of
    named = {tensor_of[name]: ref for name, ref in outputs.items()}
    return _record(shard, named, facts, glance or Glance(shard))


@transactions.repeated
def ask_another(
    shard: RunStep,
    outputs: Mapping[str, TensorRef],
    doubt: Doubt,
    facts: AttemptFacts,
    *,
    must: bool,
) -> Outcome | None:
    """Keep an answer beside the shard and send it to a browser that has not answered yet.

    `doubt`: why, and the earlier answers. None, and nothing is changed, when no browser could take it now,
    unless one `must`: then it waits for one. An answer that comes too late is written down as such.
    """
    tensor_of = shard.plan_step.tensor_of
    named = {tensor_of[name]: ref for name, ref in outputs.items()}
    doubt = doubt.after(KeptAnswer(shard.browser, facts.backend, named))
    asked = copy.copy(shard)
    asked.doubt = doubts.to_json(doubt)
    pool = pool_now()
    if not must and why_waiting(asked, pool) is not None:
        return None
    after: Actions = []
    with transactions.of_run(shard.run_id):
        now = clock.now()
        late = deadlines.finish_late(shard.run, now)
        mine = step_moves.ask(asked, doubt)
        outcome = Outcome.DOUBTED if mine else Outcome.SUPERSEDED
        attempts.write(shard, outcome, facts, now)
        if mine:
            _, after = place_again(asked, pool, now)
    follow_up([*late, *(after if mine else [lambda: tensors.drop(outputs.values())])])
    return outcome


def drop_answers(refs: Iterable[TensorRef]) -> None:
    """Free answers of which nothing more is needed."""
    follow_up([lambda: tensors.drop(refs)])


def record_join(join: RunStep, outputs: Mapping[str, TensorRef]) -> bool:
    """Write down what a join made and send what it made ready; False when it had moved on."""
    return _record(join, outputs, None, Glance(join))


@transactions.repeated
def _record(
    step: RunStep, outputs: Mapping[str, TensorRef], facts: AttemptFacts | None, glance: Glance
) -> bool:
    answered_at = clock.now()
    step, pool = copy.copy(step), glance.pool()
    after: Actions = []
    stored = {name: ref.to_json() for name, ref in outputs.items()}
    with transactions.of_run(step.run_id):
        now = clock.now()  # here nothing is waited for any more
        late = deadlines.finish_late(step.run, now)
        mine = step_moves.finish(step, stored, now)
        if facts is not None:
            outcome = Outcome.SUCCEEDED if mine else Outcome.SUPERSEDED
            attempts.write(step, outcome, facts, answered_at)
        if mine:
            if has_copies(step):
                step_moves.cancel(copies(step), now)
            after = _advance(step, pool, now)
    follow_up([*late, *(after if mine else [lambda: tensors.drop(outputs.values())])])
    return mine


@transactions.repeated
def advance(run: Run) -> bool:
    """Do for a run what the last result should have brought about; False: there was nothing to do."""
    pool = pool_now()
    with transactions.of_run(run.pk):
        # Not as parts of a chord: what it should have brought has come in vain.
        after = _go_on(run, pool, clock.now(), lambda sent, _: dispatch.send(sent))
    follow_up(after)
    return bool(after)


def _advance(finished: RunStep, pool: Sequence[BrowserView], now: datetime) -> Actions:
    """Inside the transaction of a result: promote steps, or finish the run."""
    run = finished.run
    if len(plan_steps(run.plan_id)) == 1:
        return succeed(run, [finished], now)
    return _go_on(run, pool, now, dispatch.send_ready)


def _go_on(
    run: Run,
    pool: Sequence[BrowserView],
    now: datetime,
    send: Callable[[Sequence[RunStep], Sequence[RunStep]], None],
) -> Actions:
    steps = steps_of(run)
    if all_done(steps):
        return succeed(run, steps, now)
    ready = ready_now(steps)
    if not ready:
        return []
    sent, stuck = dispatch.assign(run, ready, steps, pool, now)
    placed = step_moves.save_placed(ready)
    sent = [step for step in sent if step in placed]
    if hopeless := fail_if_hopeless(run, stuck, steps, now):
        return hopeless
    return [lambda: send(sent, steps)]


def record_failure(shard: RunStep, category: Category, message: str, facts: AttemptFacts) -> None:
    """Write down a failed attempt, then retry, move or give up as `core.retry` decides."""
    _give_up_attempt(shard, Outcome.FAILED, category, message, facts)


@transactions.repeated
def fail_run(shard: RunStep, category: Category, message: str, facts: AttemptFacts) -> None:
    """End the run because of this shard: no retry anywhere could help."""
    shard = copy.copy(shard)
    with transactions.of_run(shard.run_id):
        now = clock.now()
        mine = step_moves.fail(shard, now)
        attempts.write(shard, Outcome.FAILED, facts, now, category=category, error=message)
        error = f"shard {shard.index} on {shard.browser}: {message}"
        after = endings.fail(shard.run, now, category=category, error=error) if mine else []
    follow_up(after)


def owner_died(browser_id: str, reason: str, *, category: Category = Category.BROWSER_CRASH) -> int:
    """Take every shard from a browser whose worker or lease is gone, and send each elsewhere at once.

    Queued ones too: a worker holds the next message or two in its hands, and they died with it. What is
    left in its queue is thrown away first: a message that comes later belongs to a later choice.
    Returns how many shards were taken.
    """
    dispatch.forget_messages(browser_id)
    held = _with_run(RunStep.objects.outstanding(*UNDER_WAY)).filter(browser=browser_id)
    taken = sum(_take(shard, category, reason) for shard in held)
    wake_waiters(clock.now() - UNHEARD, browser_id)
    return taken


def _take(shard: RunStep, category: Category, reason: str) -> bool:
    """Take a step from its browser; False when it had moved on, or waits for another one."""
    if shard.state == StepState.QUEUED:
        if redispatch(shard):
            return True
        # A claim that had begun when we looked, and was committed since, took it under the same fence.
        running = RunStep.objects.filter(state=StepState.RUNNING)
        since = _with_run(running).filter(pk=shard.pk, fence=shard.fence)
        return any(lose(claimed, category, reason) for claimed in since)
    return lose(shard, category, reason)


def _with_run(steps: QuerySet[RunStep]) -> QuerySet[RunStep]:
    return steps.select_related("run", "plan_step", "run__plan", "run__model")


def lose(shard: RunStep, category: Category, reason: str) -> bool:
    """Give up an attempt of which nothing more will be heard; False when the shard had moved on."""
    facts = AttemptFacts(shard.browser, started_at=shard.claimed_at or clock.now())
    return _give_up_attempt(shard, Outcome.LOST, category, reason, facts)


@transactions.repeated
def _give_up_attempt(
    shard: RunStep, outcome: Outcome, category: Category, message: str, facts: AttemptFacts
) -> bool:
    decision = retry.decide(
        category,
        attempts=shard.attempts,
        max_retries=shard.run.max_retries,
        already_avoided=shard.browser in shard.avoid,
    )
    shard, pool = copy.copy(shard), pool_now()
    after: Actions = []
    with transactions.of_run(shard.run_id):
        now = clock.now()
        failed_on, last = shard.browser, decision.next == retry.Next.FAIL
        if not (step_moves.fail(shard, now) if last else step_moves.give_up(shard)):
            return False
        attempts.write(shard, outcome, facts, now, category=category, error=message)
        if last:
            if not others(shard).exists():
                error = f"shard {shard.index} on {failed_on}: {message} ({decision.reason})"
                after = endings.fail(shard.run, now, category=category, error=error)
        elif not (after := deadlines.finish_late(shard.run, now)):
            shard.avoid = {**shard.avoid, failed_on: category}
            _, after = place_again(
                shard, pool, now, prefer_same=decision.next == retry.Next.RETRY_SAME
            )
    log.warning(
        "shard %s attempt %d on %s: %s: %s → %s",
        shard, shard.attempts, failed_on, category, message, decision.next,
    )  # fmt: skip
    follow_up(after)
    return True
