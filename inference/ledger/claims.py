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

from inference.core.lifecycle import STEP, StepState
from inference.models import PlanStep, Redundancy, Run, RunStep
from inference.store import step_moves
from inference.store.inputs import inputs_of
from inference.store.sql.statements import Select, Values
from inference.store.tensors import TensorRef, refs_of

_RUN = Select(Run, ("id",))
_STEPS = Select(RunStep, ("run_id",))
_OUTPUTS = Values(RunStep, ("index", "outputs"), ("run_id",))


def claim(
    step_id: int, fence: int, now: datetime, *, of: Run | None = None, in_turn: bool = False
) -> RunStep | None:
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


def with_plan(step: RunStep) -> None:
    """Give a step and its run what this process remembers of their plan and model."""
    step.plan_step = _plan_step(step.plan_step_id)
    step.run.plan = step.plan_step.plan
    step.run.model = step.plan_step.plan.model


@functools.lru_cache(maxsize=4096)
def _plan_step(pk: int) -> PlanStep:
    """A step of a plan with its plan and model, remembered by this process: they never change."""
    related = PlanStep.objects.select_related("plan__model")
    return related.defer("plan__model__summary").get(pk=pk)


@functools.lru_cache(maxsize=1024)
def plan_steps(plan_id: int) -> tuple[PlanStep, ...]:
    return tuple(PlanStep.objects.filter(plan=plan_id).order_by("index"))


def steps_of(run: Run) -> list[RunStep]:
    """The run's steps as they are, in order of index and copy, with their plan's."""
    steps = sorted(_STEPS(run_id=run.pk), key=lambda step: (step.index, step.copy))
    for step in steps:
        step.plan_step = _plan_step(step.plan_step_id)
        step.run = run
    return steps


def all_done(steps: Sequence[RunStep]) -> bool:
    """Whether of each step of the run one copy is done; `steps` are all of them."""
    open_ones = {step.index for step in steps} - _done(steps)
    return not open_ones


def ready_now(steps: Sequence[RunStep]) -> list[RunStep]:
    """Those that wait although all that they depend on is done; `steps` are all of the run's."""
    done = _done(steps)
    return [
        step
        for step in steps
        if step.state == StepState.WAITING and done.issuperset(step.plan_step.depends_on)
    ]


def _done(steps: Sequence[RunStep]) -> set[int]:
    return {step.index for step in steps if step.state == StepState.DONE}


def input_refs(shard: RunStep) -> list[tuple[str, TensorRef]]:
    """Where the shard's inputs are: the run's own, or what earlier steps left."""
    part = shard.plan_step.batch_part
    available = {name: item.for_part(part) for name, item in inputs_of(shard.run).items()}
    if shard.plan_step.depends_on:
        for index, outputs in _OUTPUTS(run_id=shard.run_id):
            if index in shard.plan_step.depends_on:
                available.update(refs_of(outputs))
    # An input with a declared default that the caller left out is not there.
    ports = shard.plan_step.input_ports
    return [(port.name, available[port.tensor]) for port in ports if port.tensor in available]


def part_refs(join: RunStep) -> dict[str, list[TensorRef]]:
    """For each tensor that a join makes, where its parts are, in order."""
    left = {step.index: refs_of(step.outputs) for step in steps_of(join.run) if step.outputs}
    return {
        item.tensor: [left[step][tensor] for step, tensor in item.parts]
        for item in join.plan_step.joined
    }


def stalled(before: datetime) -> list[Run]:
    """Runs whose last result, older than that, did not bring about what follows from it."""
    of_run = RunStep.objects.filter(run=OuterRef("pk"))
    runs = Run.objects.active().filter(Exists(of_run.filter(state=StepState.DONE)))
    found = runs.filter(~Exists(of_run.filter(finished_at__gte=before)))
    steps: dict[uuid.UUID, list[RunStep]] = {}
    for step in RunStep.objects.filter(run__in=found).order_by("run", "index", "copy"):
        step.plan_step = _plan_step(step.plan_step_id)
        steps.setdefault(step.run_id, []).append(step)
    lagging = [pk for pk, its in steps.items() if all_done(its) or ready_now(its)]
    related = Run.objects.select_related("plan", "model").defer("model__summary")
    return list(related.filter(pk__in=lagging)) if lagging else []


def has_copies(step: RunStep) -> bool:
    """Whether the step is computed twice and the first answer counts; a query less where it is not."""
    return step.run.redundancy == Redundancy.FIRST


def copies(step: RunStep) -> QuerySet[RunStep]:
    """The same step for other browsers; none where the first answer is not what counts."""
    if not has_copies(step):
        return RunStep.objects.none()
    return RunStep.objects.filter(run=step.run_id, index=step.index).exclude(pk=step.pk)


def others(step: RunStep) -> QuerySet[RunStep]:
    """Those copies of the step that may still answer."""
    return copies(step).filter(state__in=STEP.open)
