"""What a step of a run is, who takes it, and what it reads.

A step is claimed once: queued → running, if the fence of the message still fits, the run's deadline has not
passed and its browser is not quarantined; that counts the attempt.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Sequence
from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet

from inference.core.lifecycle import STEP, ShardState
from inference.models import PlanShard, Redundancy, Run, RunShard
from inference.store import step_moves
from inference.store.inputs import inputs_of
from inference.store.statements import Select, Values
from inference.store.tensors import TensorRef, refs_of

_RUN = Select(Run, ("id",))
_STEPS = Select(RunShard, ("run_id",))
_OUTPUTS = Values(RunShard, ("index", "outputs"), ("run_id",))


def claim(
    step_id: int, fence: int, now: datetime, *, of: Run | None = None, in_turn: bool = False
) -> RunShard | None:
    """Take the step; `in_turn`: on a message that was sent for another one.

    `of`: its run, read while the step waited: until it ends, nothing of the row changes.
    None, a normal answer: somebody else has it, it moved on, it is late or its browser is not trusted.
    """
    step = (step_moves.take if in_turn else step_moves.claim)(step_id, fence, now)
    if step is None:
        return None
    step.run = of or _RUN(id=step.run_id)[0]
    with_plan(step)
    return step


def with_plan(step: RunShard) -> None:
    """Give a step and its run what this process remembers of their plan and model."""
    step.plan_shard = _plan_shard(step.plan_shard_id)
    step.run.plan = step.plan_shard.plan
    step.run.model = step.plan_shard.plan.model


@functools.lru_cache(maxsize=4096)
def _plan_shard(pk: int) -> PlanShard:
    """A step of a plan with its plan and model, remembered by this process: they never change."""
    related = PlanShard.objects.select_related("plan__model")
    return related.defer("plan__model__summary").get(pk=pk)


@functools.lru_cache(maxsize=1024)
def plan_steps(plan_id: int) -> tuple[PlanShard, ...]:
    return tuple(PlanShard.objects.filter(plan=plan_id).order_by("index"))


def steps_of(run: Run) -> list[RunShard]:
    """The run's steps as they are, in order of index and copy, with their plan's."""
    steps = sorted(_STEPS(run_id=run.pk), key=lambda step: (step.index, step.copy))
    for step in steps:
        step.plan_shard = _plan_shard(step.plan_shard_id)
        step.run = run
    return steps


def all_done(steps: Sequence[RunShard]) -> bool:
    """Whether of each step of the run one copy is done; `steps` are all of them."""
    open_ones = {step.index for step in steps} - _done(steps)
    return not open_ones


def ready_now(steps: Sequence[RunShard]) -> list[RunShard]:
    """Those that wait although all that they depend on is done; `steps` are all of the run's."""
    done = _done(steps)
    return [
        step
        for step in steps
        if step.state == ShardState.WAITING and done.issuperset(step.plan_shard.depends_on)
    ]


def _done(steps: Sequence[RunShard]) -> set[int]:
    return {step.index for step in steps if step.state == ShardState.DONE}


def input_refs(shard: RunShard) -> list[tuple[str, TensorRef]]:
    """Where the shard's inputs are: the run's own, or what earlier steps left."""
    part = shard.plan_shard.batch_part
    available = {name: item.for_part(part) for name, item in inputs_of(shard.run).items()}
    if shard.plan_shard.depends_on:
        for index, outputs in _OUTPUTS(run_id=shard.run_id):
            if index in shard.plan_shard.depends_on:
                available.update(refs_of(outputs))
    # An input with a declared default that the caller left out is not there.
    ports = shard.plan_shard.input_ports
    return [(port.name, available[port.tensor]) for port in ports if port.tensor in available]


def part_refs(join: RunShard) -> dict[str, list[TensorRef]]:
    """For each tensor that a join makes, where its parts are, in order."""
    left = {step.index: refs_of(step.outputs) for step in steps_of(join.run) if step.outputs}
    return {
        item.tensor: [left[step][tensor] for step, tensor in item.parts]
        for item in join.plan_shard.joined
    }


def stalled(before: datetime) -> list[Run]:
    """Runs whose last result, older than that, did not bring about what follows from it."""
    of_run = RunShard.objects.filter(run=OuterRef("pk"))
    runs = Run.objects.active().filter(Exists(of_run.filter(state=ShardState.DONE)))
    found = runs.filter(~Exists(of_run.filter(finished_at__gte=before)))
    steps: dict[uuid.UUID, list[RunShard]] = {}
    for step in RunShard.objects.filter(run__in=found).order_by("run", "index", "copy"):
        step.plan_shard = _plan_shard(step.plan_shard_id)
        steps.setdefault(step.run_id, []).append(step)
    lagging = [pk for pk, its in steps.items() if all_done(its) or ready_now(its)]
    related = Run.objects.select_related("plan", "model").defer("model__summary")
    return list(related.filter(pk__in=lagging)) if lagging else []


def has_copies(step: RunShard) -> bool:
    """Whether the step is computed twice and the first answer counts; a query less where it is not."""
    return step.run.redundancy == Redundancy.FIRST


def copies(step: RunShard) -> QuerySet[RunShard]:
    """The same step for other browsers; none where the first answer is not what counts."""
    if not has_copies(step):
        return RunShard.objects.none()
    return RunShard.objects.filter(run=step.run_id, index=step.index).exclude(pk=step.pk)


def others(step: RunShard) -> QuerySet[RunShard]:
    """Those copies of the step that may still answer."""
    return copies(step).filter(state__in=STEP.open)
