"""How runs end: terminal once, their waiters told, their tensors freed.

What follows a commit is not worth failing for: the sweep makes it good.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

import redis.exceptions

from browsers import clock
from browsers.core.failures import Category
from inference.documents import JsonObject, JsonView
from inference.models import Run, RunState, RunStep
from inference.store import run_moves, step_moves, tensors, transactions, wakeups
from inference.store.doubts import doubt_of
from inference.store.inputs import inputs_of
from inference.store.tensors import TensorRef, refs_of
from inference.store.wakeups import Ending

log = logging.getLogger(__name__)
# How long ago a run may have ended without a word, when the one that ended it has died.
UNHEARD = timedelta(seconds=10)
Actions = list[Callable[[], None]]


def succeed(run: Run, shards: Sequence[RunStep], now: datetime) -> Actions:
    """Every shard is done: the model's outputs are known by reference.

    Inside the caller's transaction, like `fail`; returns what to do after its commit.
    """
    available: JsonObject = dict(run.inputs)  # a model may hand one through
    for shard in shards:
        available.update(shard.outputs)
    outputs = {port.name: available[port.tensor] for port in run.model.output_ports}
    ending = run_moves.succeed(run.pk, outputs, now)
    made = [ref for shard in shards for ref in refs_of(shard.outputs).values()]
    return _ended(run, ending, made) if ending else []


def fail(run: Run, now: datetime, *, category: Category, error: str) -> Actions:
    """End the run without an answer; nothing to do: it had ended before."""
    ending = run_moves.fail(run.pk, category, error, now)
    return _ended_early(run, ending) if ending else []


def _ended_early(run: Run, ending: Ending) -> Actions:
    step_moves.cancel(run.shards.all(), ending.finished_at)
    made: list[TensorRef] = []
    for step in run.shards.only("outputs", "doubt"):
        made += refs_of(step.outputs).values()
        made += doubt.refs if (doubt := doubt_of(step)) else ()
    return _ended(run, ending, made)


def _ended(run: Run, ending: Ending, made: Iterable[TensorRef]) -> Actions:
    """`made`: what the steps stored."""
    return [lambda: wakeups.announce(run.pk, ending, _all_but(ending.outputs, run, made))]


@transactions.repeated
def end_failed(run: Run, *, category: Category, error: str) -> bool:
    """End the run without an answer in a transaction of its own; False: it had ended before."""
    with transactions.of_run(run.pk):
        after = fail(run, clock.now(), category=category, error=error)
    follow_up(after)
    return bool(after)


@transactions.repeated
def cancel(run_id: uuid.UUID | str, reason: str) -> bool:
    """End a run that nobody wants any more; False: it had ended before."""
    run = Run.objects.get(pk=run_id)
    with transactions.of_run(run.pk):
        ending = run_moves.cancel(run.pk, reason, clock.now())
        after = _ended_early(run, ending) if ending else []
    follow_up(after)
    return bool(after)


def follow_up(after: Actions) -> None:
    """What comes after a commit; while Redis is down it is left to the sweep and to expiry."""
    for action in after:
        try:
            action()
        except redis.exceptions.RedisError as error:
            log.warning("after a commit: %s; waiters are woken by the sweep", error)


def wake_waiters(since: datetime, browser_id: str = "") -> None:
    """Announce again every run that ended since then (with that browser's help): it may be unheard.

    Whoever ends a run announces it after the commit, and may die or lose Redis between the two.
    """
    ended = Run.objects.filter(finished_at__gte=since).exclude(state=RunState.RUNNING)
    if browser_id:
        ended = ended.filter(shards__browser=browser_id).distinct()
    fields = ("state", "outputs", "error_category", "error", "finished_at")
    wakeups.announce_again(
        {pk: Ending(*values) for pk, *values in ended.order_by().values_list("pk", *fields)}
    )


def drop_inputs(run: Run) -> None:
    """Free the inputs of a run that was not written down after all."""
    follow_up([lambda: tensors.drop(_all_but({}, run, ())), lambda: wakeups.keep(run.pk)])


def _all_but(outputs: JsonView, run: Run, made: Iterable[TensorRef]) -> list[TensorRef]:
    """Everything a terminal run stored, except its outputs."""
    kept = {item["key"] for item in outputs.values()}
    stored = list(made)
    for item in inputs_of(run).values():
        stored += item.refs
    return [ref for ref in stored if ref.key not in kept]
