"""Wait for a run and read its answer: what every door calls."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Collection, Sequence

import redis.exceptions
from django.core.exceptions import ValidationError

from browsers import clock
from browsers.core.failures import Category
from inference.errors import (
    InvalidRequest,
    RunFailed,
    UnknownRun,
)
from inference.ledger import deadlines
from inference.models import (
    Run,
    RunState,
    RunStep,
)
from inference.store import tensors, wakeups
from inference.store.sql.statements import Ask
from inference.store.tensors import TensorRef, WireTensor

# Who ends a run wakes its waiters, and the sweep wakes those it finds unheard; this is behind both.
_ASK_DATABASE_EVERY_S = 5.0
# Each of them holds a thread of the web server, and its connection to the database.
_WAITING_AT_MOST = 32
_waiting = threading.BoundedSemaphore(_WAITING_AT_MOST)
_PLACES = Ask("places", RunStep, ("run_id",))


def wait_run(run: Run) -> Run:
    """Wait until the run is terminal, woken by Redis; the database is the fallback.

    At its deadline it is ended here: who waits is told then, whatever became of the other processes.
    """
    while run.state == RunState.RUNNING:
        _wait_once(run, _ASK_DATABASE_EVERY_S)
    return run


def wait_at_most(run: Run, seconds: float) -> None:
    """Wait until the run is terminal or the time is over; at once, where too many wait like this."""
    if not _waiting.acquire(blocking=False):
        return
    until = time.monotonic() + seconds
    try:
        while run.state == RunState.RUNNING and (left := until - time.monotonic()) > 0:
            _wait_once(run, min(left, _ASK_DATABASE_EVERY_S))
    finally:
        _waiting.release()


def _wait_once(run: Run, seconds: float) -> None:
    """Look how a run stands once it is announced, its deadline has come, or the time is over."""
    if (left := deadlines.left_s(run)) <= 0:
        end_at_deadline(run)
        return
    try:
        ending = wakeups.wait(run.pk, min(left, seconds))
    except redis.exceptions.RedisError:
        ending = None
        time.sleep(0.2)  # the store is restarting: ask the database meanwhile
    refresh(run, ending)


def end_at_deadline(run: Run) -> None:
    """End a run whose deadline has passed, unless it has ended, and read how it ended."""
    deadlines.end_late(run, clock.now())
    refresh(run, None)


def refresh(run: Run, told: wakeups.Told | None) -> None:
    """Set what changes while a run is under way: as it was announced, else from the database."""
    if told is None:
        run.refresh_from_db(fields=["state", "outputs", "error_category", "error", "finished_at"])
        return
    for name, value in vars(told.ending).items():
        setattr(run, name, value)
    run.told = told.values


def get_run(run_id: uuid.UUID | str) -> Run:
    try:
        return Run.objects.select_related("model", "plan").defer("model__summary").get(pk=run_id)
    except Run.DoesNotExist as error:
        raise UnknownRun(f"no run has the id {str(run_id)!r}") from error
    except ValidationError as error:
        raise UnknownRun(f"{str(run_id)!r} is not the id of a run (a UUID)") from error


def places(run: Run) -> list[tuple[str, str, str]]:
    """Of each computed shard, in order: browser, backend, what is unproved of it (empty: nothing)."""
    return [(browser, backend, unproved) for browser, backend, unproved in _PLACES(run_id=run.pk)]


def collect(run: Run, names: Sequence[str] = (), *, keep: bool = True) -> list[WireTensor]:
    """The output tensors of a run that succeeded; without `keep` the store gives all of them up.

    Raises:
        RunFailed: it did not succeed, or its outputs have expired.
        InvalidRequest: an output name that the model lacks.
    """
    if run.state != RunState.SUCCEEDED:
        raise RunFailed(
            f"run {run.pk} {run.state}: {run.error or 'no answer yet'}",
            category=Category.of(run.error_category or Category.INTERNAL),
            run_id=str(run.pk),
        )
    unknown = sorted(set(names) - set(run.outputs))
    if unknown:
        raise InvalidRequest(
            f"unknown output {', '.join(unknown)}; {run.model.name} has {', '.join(run.outputs)}"
        )
    refs = {name: TensorRef.from_json(item) for name, item in run.outputs.items()}
    wanted = [(name, refs[name]) for name in names or refs]
    try:
        return _read(run, wanted, refs.values(), keep=keep)
    except tensors.TensorLost as error:
        if (values := wakeups.told_values(run.pk)) is not None:
            return tensors.told(wanted, values)
        raise RunFailed(
            f"the outputs of run {run.pk} are gone: {error}; run it again",
            category=Category.EXPIRED,
            run_id=str(run.pk),
        ) from error


def _read(
    run: Run,
    wanted: Sequence[tuple[str, TensorRef]],
    all_of_them: Collection[TensorRef],
    *,
    keep: bool,
) -> list[WireTensor]:
    if run.told is not None:
        if not keep:
            release(run)
        return tensors.told(wanted, run.told)
    return tensors.fetch(wanted) if keep else tensors.take(wanted, drop=all_of_them)


def release(run: Run) -> None:
    """Free the outputs, which were read, unless that was done when they were told; the run's row stays."""
    if not (run.taken and run.told is not None):
        tensors.drop(TensorRef.from_json(item) for item in run.outputs.values())
