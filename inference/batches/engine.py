"""Move a batch job on: the one engine behind the command, REST and the admin.

A batch moves waiting → running → done | failed. Each step is a conditional UPDATE, so that any number of
processes may call `advance` at the same time, and any of them may be killed at any moment:

1. claim    waiting → running, attempts + 1: the fence of everything that follows.
2. send     `create_run` with an owner that names job, batch and attempt; then the batch's row gets the run.
            No more than there is room for (`quotas.room_for_batches`): a job waits, and never fails for it.
            Whoever dies between the two leaves a batch without a run: its run is found by that owner and
            adopted, or, once the claimer is known to be dead or after `CLAIM_S`, the batch waits again.
3. collect  a run that succeeded: its outputs become a file, complete, before the row says done.
            A run that failed: the reason is written down. A run that was cancelled with its job, or whose
            tensors were lost with the store: the batch waits again.
4. finish   nothing waits and nothing runs: the job ends.
"""

from __future__ import annotations

import dataclasses
import logging
import uuid
from datetime import UTC, datetime, timedelta

import redis.exceptions
from django.db.models import F, QuerySet

from browsers import clock
from browsers.core.failures import Category
from inference.batches import storage
from inference.core.tenants import BATCH
from inference.documents import Array
from inference.errors import Busy, InvalidRequest, RunFailed, Unavailable
from inference.graph.atomic import atomic_write
from inference.graph.batching.batch_axis import Verdict
from inference.ledger import endings
from inference.models import Run, RunState, Strategy
from inference.models.batches import Batch, BatchJob, BatchState, JobState
from inference.runs import creation, quotas, requests
from inference.runs.answers import collect
from inference.runs.options import Door, parse_options
from inference.sandbox import archives
from inference.store import tensors
from inference.store.tensors import TensorRef, decode_array, encode_array

log = logging.getLogger(__name__)
# Longer than a transaction may wait for the database: after it, whoever claimed a batch has died.
CLAIM_S = 45.0
# What was computed or sent is gone with the store: nobody but the job can start it anew.
_LOST = (Category.TENSOR_LOST, Category.EXPIRED)
_MOST_ATTEMPTS = 3
_ASK_AGAIN = timedelta(seconds=2)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def advance(
    job_id: uuid.UUID | str, now: datetime, alone_since: datetime | None = None
) -> list[uuid.UUID]:
    """Do what can be done for a job at once; returns the runs that are in flight for it.

    `alone_since`: from then on nobody but the caller advances; who claimed a batch before is dead.
    """
    job = BatchJob.objects.select_related("model").defer("model__summary").get(pk=job_id)
    _collect(job, now, alone_since)
    if job.state == JobState.CANCELLED:
        _stop(job)
    elif job.state == JobState.RUNNING and not _finish(job, now):
        _top_up(job, now)
    flying = job.batches.filter(state=BatchState.RUNNING, run__isnull=False)
    return list(flying.values_list("run_id", flat=True))


def owner_of(batch: Batch) -> str:
    """What the runs of a batch record as their owner: by it they are found again."""
    return f"{BATCH}{batch.job_id}/{batch.index}#{batch.attempts}"


# --- send ----------------------------------------------------------------------------------


def _top_up(job: BatchJob, now: datetime) -> None:
    if job.wait_until is not None and now < job.wait_until:
        return
    try:
        asked = _concurrency(job) - job.batches.filter(state=BatchState.RUNNING).count()
        waiting = job.batches.filter(state=BatchState.WAITING).defer("items").order_by("index")
        wanted = list(waiting[: max(asked, 0)])
        room = quotas.room_for_batches(job.owner)
        for batch in wanted[:room]:
            if claim(batch, now):
                _send(job, batch)
    except Busy as error:
        _wait(job, now + timedelta(seconds=error.retry_after_s), str(error))
    except (Unavailable, InvalidRequest, redis.exceptions.RedisError) as error:
        # InvalidRequest: the browsers it names have left the pool; they may come back.
        _wait(job, now + _ASK_AGAIN, str(error))
    else:
        # No time to wait for: any run that ends may make room.
        note = quotas.no_room_for_batches() if len(wanted) > room else ""
        if job.note != note:
            BatchJob.objects.filter(pk=job.pk).update(note=note, wait_until=None)


def _concurrency(job: BatchJob) -> int:
    request = request_of(job, Batch(job=job, index=0), {})
    ready = [browser for browser in requests.pool_for(request) if browser.state == "ready"]
    count = len(requests.suitable(request, ready))
    if not count:
        raise Unavailable("no browser that may be used is ready; waiting for one")
    return job.concurrency or count


def _wait(job: BatchJob, until: datetime, why: str) -> None:
    BatchJob.objects.filter(pk=job.pk).update(wait_until=until, note=why)


def claim(batch: Batch, now: datetime) -> bool:
    """Take a waiting batch; False: somebody else has it, a normal answer."""
    taken = Batch.objects.filter(
        pk=batch.pk, state=BatchState.WAITING, attempts=batch.attempts
    ).update(state=BatchState.RUNNING, run=None, attempts=F("attempts") + 1, claimed_at=now)
    batch.attempts += 1
    return bool(taken)


def _send(job: BatchJob, batch: Batch) -> None:
    """Create the run of a claimed batch.

    Raises:
        Busy, Unavailable, RedisError: nothing was sent, the batch waits again.
    """
    try:
        arrays = storage.read_arrays(storage.inputs_path(storage.folder_of(job.pk), batch.index))
        request = request_of(job, batch, arrays)
        run = creation.create_run(_in_few_parts(request, batch.item_count * batch.rows))
    except (Busy, Unavailable, redis.exceptions.RedisError):
        _mine(batch).update(state=BatchState.WAITING, attempts=F("attempts") - 1)
        raise
    except InvalidRequest as error:
        _fail(batch, error.category, str(error))
        return
    except (OSError, ValueError) as error:
        _fail(
            batch, Category.INTERNAL, f"the inputs of batch {batch.index} cannot be read: {error}"
        )
        return
    if _mine(batch).update(run=run.pk):
        BatchJob.objects.filter(pk=job.pk, started_at=None).update(started_at=run.created_at)
    else:
        endings.cancel(run.pk, f"batch {batch.index} was given to somebody else")


def request_of(job: BatchJob, batch: Batch, arrays: dict[str, Array]) -> creation.RunRequest:
    return creation.RunRequest(
        model=job.model.name,
        inputs=[encode_array(name, array) for name, array in arrays.items()],
        owner=owner_of(batch),
        tenant=job.owner,
        **parse_options(job.options, Door.JOBS),
    )


def _in_few_parts(request: creation.RunRequest, rows: int) -> creation.RunRequest:
    """The last batch may have fewer rows than there are parts."""
    parts = min(request.data_parallel, rows)
    shards = request.shards
    if request.strategy == Strategy.DATA and shards is not None:
        shards = min(shards, rows)
    return dataclasses.replace(request, data_parallel=parts, shards=shards)


def _mine(batch: Batch) -> QuerySet[Batch]:
    """The batch, unless somebody took it over since it was read."""
    return Batch.objects.filter(pk=batch.pk, state=BatchState.RUNNING, attempts=batch.attempts)


# --- collect -------------------------------------------------------------------------------


def _collect(job: BatchJob, now: datetime, alone_since: datetime | None = None) -> None:
    flying = job.batches.filter(state=BatchState.RUNNING).select_related("run__plan", "run__model")
    for batch in flying.defer("run__model__summary"):
        if batch.run is None:
            _adopt(job, batch, now, alone_since)
        elif batch.run.state == RunState.SUCCEEDED:
            _keep(job, batch, batch.run)
        elif batch.run.state != RunState.RUNNING:
            _lost_or_failed(job, batch, Category.of(batch.run.error_category), batch.run.error)


def _adopt(job: BatchJob, batch: Batch, now: datetime, alone_since: datetime | None) -> None:
    """A claimed batch without a run: its claimer is creating it, or has died before or after."""
    assert batch.claimed_at is not None
    run = Run.objects.filter(
        owner=owner_of(batch), created_at__gte=batch.claimed_at - timedelta(minutes=1)
    ).first()
    if run is not None:
        _mine(batch).update(run=run.pk)
    elif storage.result_path(storage.folder_of(job.pk), batch.index).exists():
        _done(job, batch)  # its run was forgotten between the file and the row
    elif batch.claimed_at < max(now - timedelta(seconds=CLAIM_S), alone_since or _LONG_AGO):
        _mine(batch).update(state=BatchState.WAITING)


def _keep(job: BatchJob, batch: Batch, run: Run) -> None:
    """Make the outputs a file, then the batch done, then forget the tensors."""
    path = storage.result_path(storage.folder_of(job.pk), batch.index)
    if not path.exists():
        try:
            outputs = {t.name: decode_array(t) for t in collect(run)}
        except RunFailed as error:
            _lost_or_failed(job, batch, error.category, str(error))
            return
        if wrong := _wrong_rows(job, batch, outputs):
            _fail(batch, Category.INTERNAL, wrong)
            return
        with atomic_write(path) as file:
            archives.write(file, outputs)
    if _done(job, batch):
        try:
            tensors.drop(TensorRef.from_json(item) for item in run.outputs.values())
        except redis.exceptions.RedisError as error:
            log.info("%s: its tensors are left to expire: %s", batch, error)


def _wrong_rows(job: BatchJob, batch: Batch, outputs: dict[str, Array]) -> str:
    """Why the outputs cannot be given to the items; empty if they can."""
    rows = batch.rows * batch.item_count
    own = batch.item_count == 1 and not batch.adds_axis  # the item's whole answer, whatever it is
    if own or job.model.batch.verdict == Verdict.NO:
        return ""
    for name, array in outputs.items():
        if array.shape[:1] != (rows,):
            return f"output {name!r} has the shape {list(array.shape)}, expected {rows} rows"
    return ""


def _done(job: BatchJob, batch: Batch) -> bool:
    won = _mine(batch).update(
        state=BatchState.DONE, finished_at=clock.now(), error="", error_category=""
    )
    if won:
        storage.inputs_path(storage.folder_of(job.pk), batch.index).unlink(missing_ok=True)
    return bool(won)


def _lost_or_failed(job: BatchJob, batch: Batch, category: Category, error: str) -> None:
    stopped = category == Category.CANCELLED and job.state == JobState.CANCELLED
    if stopped or (category in _LOST and batch.attempts < _MOST_ATTEMPTS):
        log.warning("%s waits again: %s: %s", batch, category, error)
        _mine(batch).update(state=BatchState.WAITING, run=None)
    else:
        _fail(batch, category, error)


def _fail(batch: Batch, category: Category, error: str) -> None:
    _mine(batch).update(
        state=BatchState.FAILED,
        error_category=category,
        error=error,
        finished_at=clock.now(),
    )


# --- end -----------------------------------------------------------------------------------


def _stop(job: BatchJob) -> None:
    """End the runs of a cancelled job; what they become is collected like any other end."""
    flying = job.batches.filter(state=BatchState.RUNNING, run__isnull=False)
    for run_id in flying.values_list("run_id", flat=True):
        assert run_id is not None
        endings.cancel(run_id, f"its batch job {job.pk} was cancelled")
    _collect(job, clock.now())


def _finish(job: BatchJob, now: datetime) -> bool:
    """End the job when no batch is open; whether it has ended."""
    open_states = [BatchState.WAITING, BatchState.RUNNING]
    if job.batches.filter(state__in=open_states).exists():
        return False
    failed = job.batches.filter(state=BatchState.FAILED).exists()
    state = JobState.FAILURES if failed else JobState.FINISHED
    won = BatchJob.objects.filter(pk=job.pk, state=JobState.RUNNING).update(
        state=state, finished_at=now, note="", wait_until=None
    )
    if won:
        log.info("batch job %s %s", job.pk, state)
    return True
