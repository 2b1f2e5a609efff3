"""Compute one claimed shard in the browser that this worker owns."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

import redis.exceptions

from browsers import clock
from browsers.core.errors import BrowserError
from browsers.core.failures import Category
from browsers.session import RunReport
from browsers.worker import BrowserWorker, end_process, owned
from inference.core.turns import Turns
from inference.documents import JsonObject
from inference.graph.shapes import bind_dims
from inference.ledger import claims, results, turns, verification
from inference.ledger.attempts import AttemptFacts
from inference.models import RunStep
from inference.scheduling import advice
from inference.scheduling.wishes import asked_of
from inference.store import tensors
from inference.store.inputs import batch_of
from inference.store.ports import specs
from inference.store.tensors import WireTensor
from inference.worker.judging import count_refusals, judged
from inference.worker.timeouts import Durations
from inference.worker.tokens import tokens_of

log = logging.getLogger(__name__)
T = TypeVar("T")
_STORE_AGAIN_S = 0.1
_TURNS = Turns()


def execute(shard_id: int, fence: int) -> None:
    """Claim whose turn it is, fetch, compute, store, record; every way out leaves a row that says what came.

    When not even that can be written down, this raises, and the sweep takes the shard from the idle
    worker.
    """
    worker = owned()
    with worker.at_work():
        _execute(worker, shard_id, fence)


def _execute(worker: BrowserWorker, shard_id: int, fence: int) -> None:
    started = clock.now()
    shard = turns.claim_next(worker.id, (shard_id, fence), _TURNS, started)
    if shard is None:
        return
    facts = _facts(worker, shard, started)
    try:
        refs_in = claims.input_refs(shard)
        inputs = _patiently(lambda: tensors.fetch(refs_in), shard.run.deadline_at)
        glance = results.Glance(shard)
        facts = _sized(facts, shard, inputs)
        report = _compute(worker, shard, inputs, glance.take)
        outputs = report.outputs
        refs, odd = _patiently(lambda: _kept(shard, outputs), shard.run.deadline_at)
        facts = _measured(facts, report)
    except BrowserError as error:
        told = error.judged
        record = results.fail_run if told.everywhere else results.record_failure
        record(shard, told.category, told.message, facts)
        if error.category.distrusted and not worker.repair(
            error.category, str(error), error.first_rung
        ):
            end_process(f"{worker.id} could not be repaired")
    except tensors.TensorLost as error:
        results.fail_run(shard, Category.TENSOR_LOST, str(error), facts)
    except redis.exceptions.OutOfMemoryError as error:
        results.fail_run(shard, Category.OUT_OF_MEMORY, f"the tensor store is full: {error}", facts)
    except Exception as error:
        log.exception("shard %s", shard)
        results.record_failure(shard, Category.INTERNAL, f"{type(error).__name__}: {error}", facts)
    else:
        verification.settle(shard, outputs, refs, odd, facts, glance)
        count_refusals(shard)


def _kept(
    shard: RunStep, outputs: Sequence[WireTensor]
) -> tuple[list[tensors.TensorRef], list[str]]:
    """Where the outputs are stored, and what is odd about them, which is looked at meanwhile."""
    look = functools.partial(verification.oddities, shard, outputs)
    return tensors.store_meanwhile(shard.run_id, outputs, lambda _: look())


def load(sha256: str, platform: str) -> JsonObject:
    """Make a file resident; returns its load time in ms, or why it could not be loaded."""
    try:
        return {"load_ms": owned().load(sha256, platform), "error": None}
    except BrowserError as error:
        return {"load_ms": None, "error": f"{owned().id}: {error}"}


def _patiently(ask: Callable[[], T], until: datetime) -> T:
    """Ask the tensor store; one that is restarting is waited for, as long as the answer is of use."""
    while True:
        try:
            return ask()
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            if clock.now() >= until:
                raise
            time.sleep(_STORE_AGAIN_S)


def _compute(
    worker: BrowserWorker,
    shard: RunStep,
    inputs: list[tensors.WireTensor],
    meanwhile: Callable[[], object],
) -> RunReport:
    shapes = {tensor.name: tensor.shape for tensor in inputs}
    sha256, backend = shard.plan_step.sha256, asked_of(shard.run).for_shard(shard.index).platform
    prefer = "" if backend else _preferred(worker, shard)
    dims = bind_dims(specs(shard.plan_step.inputs), shapes)
    durations = _durations(worker.id)
    loaded = worker.session.is_warm(
        sha256, backend=backend or None, prefer=prefer, dims=dims, inputs=inputs
    )
    weight_bytes = shard.plan_step.weight_bytes
    began = time.monotonic()
    try:
        report = worker.run(
            sha256,
            inputs,
            backend=backend,
            prefer=prefer,
            strict=shard.run.strict,
            rows=_rows(shard),
            dims=dims,
            # The run's own deadline is the sweep's matter. The engine is only replaced when it really
            # hangs: whoever asks for an answer too soon must not cost others their loaded models.
            deadline_s=durations.allowed_s(sha256, shapes, weight_bytes, loaded=loaded),
            meanwhile=meanwhile,
            judge=lambda error: judged(shard, inputs, error),
        )
    except BrowserError as error:
        if error.category == Category.TIMEOUT:
            durations.forget(sha256, shapes)
        raise
    if report.warm:
        durations.note(sha256, shapes, (time.monotonic() - began) * 1000)
    return report


@functools.cache
def _durations(browser_id: str) -> Durations:
    return Durations(browser_id)


def _preferred(worker: BrowserWorker, shard: RunStep) -> str:
    """The backend that history or exploration chose; empty: the browser's own choice."""
    offered = [backend.name for backend in worker.facts.backends if backend.offered]
    return advice.platform_for(shard.run, worker.facts.kind, offered, attempt=shard.attempts)


def _rows(shard: RunStep) -> int | None:
    """How many rows of the batch the shard computes; None where the model's batch cannot be split."""
    ref = batch_of(shard.run, shard.plan_step.batch_part)
    return ref.shape[0] if ref else None


def _facts(worker: BrowserWorker, shard: RunStep, started: datetime) -> AttemptFacts:
    """What is known of the attempt before it has a result."""
    queued = shard.queued_at or started
    waited_ms = (started - queued).total_seconds() * 1000
    return AttemptFacts(
        browser=worker.id,
        started_at=started,
        family=worker.facts.family,
        browser_version=worker.facts.version,
        driver_version=worker.facts.driver_version or "",
        queue_ms=waited_ms if waited_ms >= 0 else None,  # the clocks of two processes differ
        memory_mb=worker.memory_mb,
    )


def _sized(facts: AttemptFacts, shard: RunStep, inputs: Sequence[WireTensor]) -> AttemptFacts:
    """With what history needs of the inputs to compare like with like."""
    return replace(
        facts,
        shapes={tensor.name: tensor.shape for tensor in inputs},
        bytes_in=sum(len(tensor.data) for tensor in inputs),
        tokens=tokens_of(shard, inputs),
    )


def _measured(facts: AttemptFacts, report: RunReport) -> AttemptFacts:
    return replace(
        facts,
        backend=report.backend,
        adapter=report.adapter or "",
        software=report.software,
        nodes=report.nodes,
        unproved=report.unproved,
        warm=report.warm,
        load_ms=report.load_ms,
        compute_ms=report.compute_ms,
        transfer_ms=report.transfer_ms,
        bytes_out=sum(len(tensor.data) for tensor in report.outputs),
    )
