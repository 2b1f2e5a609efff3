"""Data parallelism: a batch split over copies of a plan, whole or cut, and put together again at its end."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

from inference.core.ports import Joined
from inference.errors import InvalidRequest
from inference.graph.batching.batch_axis import Verdict
from inference.models import OnnxModel, PlanStep, StepKind, Strategy

# What a batch can be split over besides whole copies, which is the strategy `data`.
CUT = (Strategy.LAYER, Strategy.ATTENTION_FEEDFORWARD, Strategy.TENSOR)


def splits_batch(strategy: str, parts: int) -> bool:
    """Whether rows of one batch are computed apart."""
    return parts > 1 or strategy == Strategy.DATA


def check_parallel(model: OnnxModel, strategy: str, parts: int, *, allow_unproved: bool) -> None:
    """Refuse copies of a plan that cannot be, and a batch split over them that may not be.

    Raises:
        InvalidRequest: says what was expected.
    """
    if parts < 1:
        raise InvalidRequest(f"data_parallel: expected at least 1, got {parts}")
    if parts > 1 and strategy not in CUT:
        raise InvalidRequest(
            f"data_parallel={parts} splits a batch over copies of a cut model: expected the strategy "
            f"{', '.join(CUT)}, got {strategy}; for copies of the whole model: strategy data"
        )
    check_split(model, strategy, parts, allow_unproved=allow_unproved)


def check_split(model: OnnxModel, strategy: str, parts: int, *, allow_unproved: bool) -> None:
    """Refuse to split a batch where it is not proved that this may be, unless trials are taken for enough.

    Raises:
        InvalidRequest: says why, and how it is allowed.
    """
    if not splits_batch(strategy, parts) or model.batch.may_split(allow_unproved=allow_unproved):
        return
    if model.batch.verdict == Verdict.NO:
        raise InvalidRequest(f"model {model.name} cannot be split by data: {model.batch.reason}")
    raise InvalidRequest(f"model {model.name}: {unproved(model)}")


def unproved(model: OnnxModel) -> str:
    """Why rows of a batch are not split or joined without being allowed to, and how to allow it."""
    return (
        "that each row of a batch is computed for itself was "
        f"tried with {len(model.batch.tried)} sizes, not proved ({model.batch.reason}); "
        "set allow_unproved_split=true (--allow-unproved-split) to split or join all the same"
    )


def copies(model: OnnxModel, steps: Sequence[PlanStep], parts: int) -> list[PlanStep]:
    """The plan's steps for each part of a batch, then the one that puts the model's outputs together.

    Args:
        steps: of one plan, in order of index from 0.
    """
    tensor_parts = 1 + max((step.part for step in steps if step.part is not None), default=-1)
    repeated = [step for part in range(parts) for step in _copy(steps, part, parts, tensor_parts)]
    made_by = {port.tensor: step.index for step in steps for port in step.output_ports}
    joined = [
        Joined(
            name,
            "concat",
            0,
            tuple((part * len(steps) + made_by[name], name) for part in range(parts)),
        )
        for name in (port.tensor for port in model.output_ports)
    ]
    waits_for = sorted({step for item in joined for step, _ in item.parts})
    join = PlanStep(
        index=len(repeated),
        kind=StepKind.JOIN,
        outputs=model.outputs,
        depends_on=waits_for,
        join=[item.to_json() for item in joined],
    )
    return [*repeated, join]


def _copy(
    steps: Sequence[PlanStep], batch_part: int, parts: int, tensor_parts: int
) -> Iterator[PlanStep]:
    offset = batch_part * len(steps)
    for step in steps:
        one = copy.copy(step)
        one.batch_part = batch_part
        one.index = step.index + offset
        one.depends_on = [index + offset for index in step.depends_on]
        one.join = [item.after(offset).to_json() for item in step.joined]
        if step.part is not None:
            one.part = step.part + batch_part * tensor_parts
        one.cost = step.cost / parts
        if batch_part:
            one.copied_bytes = step.weight_bytes
        yield one
