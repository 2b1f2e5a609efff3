"""Create a run: what every door calls."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import redis.exceptions
from django.conf import settings
from django.db import IntegrityError

from browsers import clock, locations
from inference.catalog import plans, registry
from inference.core.lifecycle import STEP
from inference.core.placement import BrowserView
from inference.core.split import shares
from inference.errors import (
    InvalidRequest,
    Unavailable,
)
from inference.ledger import deadlines, endings
from inference.models import (
    OnnxModel,
    PlanStep,
    Redundancy,
    Run,
    RunStep,
    StepKind,
)
from inference.runs import admission, quotas, store_quota
from inference.runs.answers import collect, end_at_deadline, wait_run
from inference.runs.inputs import Prepared, prepare
from inference.runs.options import option
from inference.runs.requests import RunRequest, plan_for, pool_for, resolve
from inference.scheduling import dispatch
from inference.store import tensors, transactions, wakeups
from inference.store.inputs import to_json
from inference.store.sql.statements import Insert
from inference.store.tensors import WireTensor

_RUN, _STEPS = Insert(Run), Insert(RunStep)


def create_run(request: RunRequest, *, taken: bool = False) -> Run:
    """Admit, store the inputs, write the run and its shards, send what is ready.

    `taken`: who waits with what this returns takes the outputs, and nobody else asks for them.

    The deadline counts from here: what has to be cut first takes its time from it. A run whose deadline
    has passed by then is written down as failed, and nothing of it is sent.

    Raises:
        InvalidRequest, UnknownModel, UnknownBrowser, TooLarge: nothing was stored.
        Busy: beyond the admission limit; nothing was stored.
        Unavailable: broker, store or pool is not there; nothing was stored.
    """
    deadline_s = _asked_or_set("deadline_s", request.deadline_s, "WEBPOOL_RUN_DEADLINE_S")
    deadline_at = clock.now() + timedelta(seconds=deadline_s)
    try:
        return _create_run(request, deadline_at, taken)
    except (IntegrityError, OnnxModel.DoesNotExist, InvalidRequest) as error:
        # The model may have been deleted and registered anew since this process looked: look again, once.
        if isinstance(error, InvalidRequest) and registry.is_current(request.model):
            raise
        plans.clear_cache()
        return _create_run(request, deadline_at, taken)


def _create_run(request: RunRequest, deadline_at: datetime, taken: bool) -> Run:
    max_retries = _asked_or_set("max_retries", request.max_retries, "WEBPOOL_MAX_RETRIES")
    pool = pool_for(request)
    model = registry.cached_model(request.model)
    prepared = prepare(model, request.inputs)
    request, prediction = resolve(request, model, pool, rows=_rows(prepared))
    plan, plan_steps = plan_for(request, model, pool, rows=_rows(prepared))
    total = sum(len(tensor.data) for tensor in prepared.tensors)
    now = clock.now()
    run = Run(
        model=model,
        plan=plan,
        platform=request.platform,
        strict=request.strict,
        critical=request.critical,
        redundancy=request.redundancy,
        pins={str(index): wish for index, wish in request.pins.items()},
        browsers=list(request.browsers),
        max_retries=max_retries,
        filled_in=[*request.filled_in, *prepared.filled_in],
        prediction=prediction,
        owner=request.owner,
        tenant=request.tenant or request.owner,
        created_at=now,
        deadline_at=deadline_at,
    )
    shards = new_steps(run, plan_steps)
    run.taken = taken
    ready = [step for step in shards if not step.plan_step.depends_on]
    if len(shards) == 1:
        chosen = dispatch.select(run, plan_steps[0], pool)
        run.selection = chosen.to_json() if chosen else None
    sent, stuck = dispatch.assign(run, ready, (), pool, now)
    lasting = next((none for none in stuck if none.lasting), None)
    if lasting is not None:
        raise InvalidRequest(str(lasting))
    split = _split(run, shards, pool, _rows(prepared))
    run.inputs = {}
    with _store_there():
        store_quota.check(run.tenant, total)
        try:
            _store_inputs(run, prepared.tensors, prepared.batch_axis_of, split)
            _insert(run, shards, total)
        except BaseException:
            endings.drop_inputs(run)
            raise
    if deadlines.left_s(run) > 0:
        dispatch.send_ready(sent, shards)
    else:
        end_at_deadline(run)
    return run


@contextlib.contextmanager
def _store_there() -> Iterator[None]:
    """Raises Unavailable where the tensor store fails."""
    try:
        yield
    except redis.exceptions.RedisError as error:
        raise Unavailable(
            f"the tensor store does not answer or is full ({_said(error)}); is the pool running "
            f"({locations.UP})?"
        ) from error


def _said(error: redis.exceptions.RedisError) -> str:
    """Without the command that a pipeline's error repeats, tensor and all."""
    return str(error).rpartition("caused error: ")[2]


def new_steps(run: Run, plan_steps: Iterable[PlanStep]) -> list[RunStep]:
    """The run's steps (unsaved), each waiting; two copies of each shard where the first answer counts."""
    doubled = run.redundancy == Redundancy.FIRST
    return [
        RunStep(
            run=run,
            plan_step=plan_step,
            index=plan_step.index,
            copy=copy,
            kind=plan_step.kind,
            state=STEP.initial,
        )
        for plan_step in plan_steps
        for copy in range(2 if doubled and plan_step.kind == StepKind.COMPUTE else 1)
    ]


def _rows(prepared: Prepared) -> int | None:
    """The batch: what the split inputs share as their first axis; None where there is none."""
    sizes = {t.shape[0] for t in prepared.tensors if t.name in prepared.batch_axis_of}
    return sizes.pop() if len(sizes) == 1 else None


def _asked_or_set(name: str, asked: float | None, setting: str) -> float:
    """The caller's value of an option, else the setting's, which is checked as well."""
    kind = option(name).kind
    if asked is None:
        return kind.read(setting, getattr(settings, setting))
    return kind.read(name, asked)


def _store_inputs(
    run: Run, inputs: Sequence[WireTensor], batched: frozenset[str], split: Sequence[int] | None
) -> None:
    """Set the run's inputs to where they are; what fails in the middle leaves those that are stored.

    `split`: how many rows each part of the batch gets; None: it stays whole. What it does not
    divide is stored once.
    """
    run.taken = run.taken and split is None
    if split is None:
        marks = [wakeups.taken_key(run.pk)] if run.taken else []
        refs = tensors.store(run.pk, inputs, marks)
        for tensor, ref in zip(inputs, refs, strict=True):
            run.inputs[tensor.name] = to_json([ref], split=False)
        return
    for tensor in inputs:
        if tensor.name in batched:
            refs = tensors.store(run.pk, split_rows(tensor, split))
        else:
            refs = tensors.store(run.pk, [tensor]) * len(split)
        run.inputs[tensor.name] = to_json(refs, split=True)


def _split(
    run: Run, steps: Sequence[RunStep], pool: Sequence[BrowserView], rows: int | None
) -> list[int] | None:
    """How many rows each part of a batch gets: as the measured speed of its first browser allows."""
    firsts: dict[int, RunStep] = {}
    for step in steps:
        if step.plan_step.batch_part is not None:
            firsts.setdefault(step.plan_step.batch_part, step)
    if not firsts or rows is None:
        return None
    by_id = {browser.id: browser for browser in pool}
    speeds = [
        by_id[first.browser].row_ms.get(first.plan_step.sha256) if first.browser else None
        for _, first in sorted(firsts.items())
    ]
    return shares(rows, speeds)


def split_rows(tensor: WireTensor, rows: Sequence[int]) -> list[WireTensor]:
    """Split a tensor along its first axis into parts of so many rows."""
    array = tensors.decode_array(tensor)
    pieces, at = [], 0
    for count in rows:
        pieces.append(tensors.encode_array(tensor.name, array[at : at + count]))
        at += count
    return pieces


@transactions.repeated
def _insert(run: Run, shards: Sequence[RunStep], size: int) -> None:
    """`size`: of the inputs, in bytes; many requests at once may have found room for the same ones."""
    with transactions.alone("admission"):
        quotas.admit_run(run)
        if size >= store_quota.LARGE:
            store_quota.check(run.tenant, size)
        admission.admit()  # here no other request can come between the count and the row
        _RUN([run])
        _STEPS(shards)


def infer(request: RunRequest) -> tuple[Run, list[WireTensor]]:
    """Create, wait, collect: one blocking call. The outputs are not kept in the store.

    Raises:
        WebpoolError: as `create_run` and `collect`.
    """
    run = wait_run(create_run(request, taken=True))
    return run, collect(run, keep=False)
