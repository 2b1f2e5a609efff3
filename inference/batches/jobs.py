"""Batch jobs as their owners see them: create, find, cancel, resume."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import shutil
import uuid
from pathlib import Path

from django.core.exceptions import ValidationError
from django.db import IntegrityError

from browsers import clock
from inference import sandbox
from inference.batches import storage
from inference.batches.options import DEFAULT_BATCH_SIZE, JOB_OPTIONS, MOST_BATCH_SIZE
from inference.batches.prepare import prepare
from inference.batches.readers import format_of
from inference.catalog import registry
from inference.catalog.data_parallel import check_split
from inference.catalog.uploads import Conflict
from inference.documents import JsonObject, JsonView
from inference.errors import InvalidRequest
from inference.models import OnnxModel
from inference.models.batches import Batch, BatchJob, BatchState, JobState
from inference.runs import creation, quotas, requests
from inference.runs.options import Door, parse_options
from inference.scheduling import advice
from inference.store import transactions
from inference.store.scratch import PART, in_use

_FILES = sandbox.Places("a batch job's file read", 8)


class UnknownJob(InvalidRequest):
    status = 404


@dataclasses.dataclass(frozen=True)
class JobRequest:
    """What a caller asks for.

    Attributes:
        model: name of a registered model.
        source: the file; its format by its extension.
        source_name: how the caller names it; empty: as the file is named.
        batch_size, concurrency, again: as `inference.batches.options` declares them; None: left out. A batch
            is of one item where it is not proved, nor allowed, that rows of a batch are independent.
        options: of the runs, as `parse_options` takes them.
        owner: user or API key, for the record.
    """

    model: str
    source: Path
    source_name: str = ""
    batch_size: int | None = None
    concurrency: int | None = None
    options: JsonView = dataclasses.field(default_factory=dict)
    owner: str = ""
    again: bool = False


def create_job(request: JobRequest) -> tuple[BatchJob, bool]:
    """Read and check the whole file, write its batches down; False: an equal job existed already.

    Nothing is computed here. Jobs are equal when file, model, options and owner are; an equal one is
    returned as it is, whatever became of it.

    Raises:
        BadItems: items that the model cannot take, by line.
        Busy: its owner has as many running as one may have, or too many files that wait to be read.
        InvalidRequest, UnknownModel, UnknownBrowser, Unavailable: as `runs.create_run`.
    """
    sizes = {name: getattr(request, name) for name in ("batch_size", "concurrency")}
    parse_options(sizes, Door.JOBS, JOB_OPTIONS)
    kind = format_of(request.source)
    model = registry.get_model(request.model)
    options = run_options(request.options)
    allowed = bool(options.get("allow_unproved_split"))
    check_split(
        model,
        options.get("strategy", ""),
        options.get("data_parallel", 1),
        allow_unproved=allowed,
    )
    _check_wishes(creation.RunRequest(model=model.name, inputs=(), **options))
    joins = model.batch.may_split(allow_unproved=allowed)
    digest = _digest_of(request.source)
    fingerprint = _fingerprint(request, model, digest, options)
    if not request.again and (known := BatchJob.objects.filter(fingerprint=fingerprint).first()):
        return known, False
    _admit(request.owner)
    job = BatchJob(
        model=model,
        source_name=(request.source_name or request.source.name)[-1024:],
        source_sha256=digest,
        source_bytes=request.source.stat().st_size,
        source_format=kind,
        batch_size=_batch_size(model, request.batch_size, joins=joins),
        concurrency=request.concurrency,
        options=_as_json(options),
        fingerprint=fingerprint,
        owner=request.owner,
        created_at=clock.now(),
    )
    part = storage.root() / f"{job.pk}{PART}"
    part.mkdir(parents=True)
    try:
        with in_use(part):
            with _FILES.taken():
                batches = prepare(job, request.source, part)
            if _digest_of(request.source) != digest:
                raise InvalidRequest(
                    f"{job.source_name} was changed while it was read; start again"
                )
            storage.publish(part, job.pk)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return _insert(job, batches, again=request.again)


def divide(given: JsonView) -> tuple[JsonObject, JsonObject]:
    """What was asked of a job, as fields of `JobRequest`; and what of its runs, which `create_job` reads.

    Raises:
        InvalidRequest: the job's own options have a wrong value.
    """
    names = {option.name for option in JOB_OPTIONS}
    own = {name: value for name, value in given.items() if name in names}
    rest = {name: value for name, value in given.items() if name not in names}
    return parse_options(own, Door.JOBS, JOB_OPTIONS), rest


def run_options(given: JsonView) -> JsonObject:
    """Options of a job's runs as keyword arguments of `RunRequest`; flags that are off are left out.

    Raises:
        InvalidRequest: an unknown option, or one with a wrong value.
    """
    options = parse_options(given, Door.JOBS)
    return {name: value for name, value in options.items() if value is not False}


def _batch_size(model: OnnxModel, asked: int | None, *, joins: bool) -> int:
    """Items in one run: one where their rows might influence one another."""
    if not joins:
        return 1
    return asked or min(advice.batch_for(model) or DEFAULT_BATCH_SIZE, MOST_BATCH_SIZE)


def _as_json(options: JsonView) -> JsonObject:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}


def _check_wishes(request: creation.RunRequest) -> None:
    """Refuse what no browser of the pool can do; one that is not ready may yet turn out to."""
    pool = requests.pool_for(request)
    if requests.suitable(request, pool) or any(browser.state != "ready" for browser in pool):
        return
    have = "; ".join(f"{b.id}: {', '.join(k.name for k in b.backends) or 'none'}" for b in pool)
    wanted = " on ".join(filter(None, [request.platform, ", ".join(request.browsers)]))
    raise InvalidRequest(f"no browser of the pool offers {wanted}; backends: {have}")


def _digest_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise InvalidRequest(f"{path}: no such file") from error
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be read: {error}") from error


def _fingerprint(request: JobRequest, model: OnnxModel, digest: str, options: JsonView) -> str:
    """Concurrency is left out: it does not change what is computed."""
    facts = [digest, model.pk, model.sha256, request.batch_size, _as_json(options), request.owner]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _insert(job: BatchJob, batches: list[Batch], *, again: bool) -> tuple[BatchJob, bool]:
    try:
        _write(job, batches, again=again)
    except IntegrityError:
        shutil.rmtree(storage.folder_of(job.pk), ignore_errors=True)
        known = BatchJob.objects.filter(fingerprint=job.fingerprint).first()
        if known is None:  # the model was deleted meanwhile
            raise InvalidRequest(f"model {job.model.name} was deleted meanwhile") from None
        return known, False
    except BaseException:
        shutil.rmtree(storage.folder_of(job.pk), ignore_errors=True)
        raise
    return job, True


@transactions.repeated
def _write(job: BatchJob, batches: list[Batch], *, again: bool) -> None:
    with transactions.alone("batch jobs"):
        _admit(job.owner)  # many at once may have been below the limit
        if again:
            BatchJob.objects.filter(fingerprint=job.fingerprint).update(fingerprint="")
        job.save(force_insert=True)
        Batch.objects.bulk_create(map(copy.copy, batches), batch_size=500)


def get_job(job_id: uuid.UUID | str) -> BatchJob:
    try:
        return BatchJob.objects.select_related("model").defer("model__summary").get(pk=job_id)
    except BatchJob.DoesNotExist as error:
        raise UnknownJob(f"no batch job has the id {str(job_id)!r}") from error
    except ValidationError as error:
        raise UnknownJob(f"{str(job_id)!r} is not the id of a batch job (a UUID)") from error


def cancel_job(job: BatchJob) -> bool:
    """Send no more batches; the engine ends the runs in flight. False: it had ended already."""
    won = BatchJob.objects.filter(pk=job.pk, state=JobState.RUNNING).update(
        state=JobState.CANCELLED, finished_at=clock.now(), note="", wait_until=None
    )
    job.refresh_from_db()
    return bool(won)


def resume_job(job: BatchJob, *, retry_failed: bool = False) -> bool:
    """Go on with a cancelled job, and with failed batches if asked; False: nothing was left to do.

    Raises:
        Busy: its owner has as many running as one may have.
        Conflict: its failed batches have lost their input files.
    """
    if not _taken_up(job, retry_failed=retry_failed):
        return False
    for path in storage.folder_of(job.pk).glob("output-*"):
        path.unlink(missing_ok=True)
    job.refresh_from_db()
    return True


@transactions.repeated
def _taken_up(job: BatchJob, *, retry_failed: bool) -> bool:
    with transactions.alone("batch jobs"):
        BatchJob.objects.select_for_update().get(pk=job.pk)
        job.refresh_from_db()
        if retry_failed:
            _put_back_failed(job)
        left = job.batches.filter(state__in=[BatchState.WAITING, BatchState.RUNNING])
        to_do = job.state == JobState.FAILURES and left.exists()
        if job.state != JobState.CANCELLED and not to_do:
            return False
        _admit(job.owner)
        BatchJob.objects.filter(pk=job.pk).update(
            state=JobState.RUNNING, finished_at=None, note="", wait_until=None
        )
    return True


def _put_back_failed(job: BatchJob) -> None:
    failed = job.batches.filter(state=BatchState.FAILED)
    folder = storage.folder_of(job.pk)
    for index in failed.values_list("index", flat=True):
        if not storage.inputs_path(folder, index).exists():
            raise Conflict(f"the inputs of batch {index} are gone from {folder}; start a new job")
    failed.update(state=BatchState.WAITING, run=None, error="", error_category="", finished_at=None)


def _admit(owner: str) -> None:
    """Refuse one more job; once more within `transactions.alone("batch jobs")`, where it is written.

    Raises:
        Busy: the owner has as many running as one may have.
    """
    running = BatchJob.objects.filter(state=JobState.RUNNING)
    quotas.admit_kept(owner, running, "batch jobs", limit="WEBPOOL_MAX_JOBS_PER_OWNER")
