"""Data parallelism: a batch split over copies of a plan, whole or cut, and put together again at its end."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

from inference.errors import InvalidRequest
from inference.models import OnnxModel, PlanShard, StepKind, Strategy

# What a batch can be split over besides whole copies, which is the strategy `data`.
CUT = (Strategy.LAYER, Strategy.ATTENTION_FEEDFORWARD, Strategy.TENSOR)


def check_parallel(model: OnnxModel, strategy: str, parts: int) -> None:
    """Refuse to split a batch where that cannot be, or is another strategy.

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
    axis = model.batch_axis or {}
    if (parts > 1 or strategy == Strategy.DATA) and not axis.get("splittable"):
        why = axis.get("reason", "it has no batch axis")
        raise InvalidRequest(f"model {model.name} cannot be split by data: {why}")


def copies(model: OnnxModel, steps: Sequence[PlanShard], parts: int) -> list[PlanShard]:
    """The plan's steps for each part of a batch, then the one that puts the model's outputs together.

    Args:
        steps: of one plan, in order of index from 0.
    """
    tensor_parts = 1 + max((step.part for step in steps if step.part is not None), default=-1)
    repeated = [step for part in range(parts) for step in _copy(steps, part, parts, tensor_parts)]
    made_by = {
        port.get("tensor", port["name"]): step.index for step in steps for port in step.outputs
    }
    outputs = [port.get("tensor", port["name"]) for port in model.outputs]
    joined = [
        {
            "tensor": name,
            "op": "concat",
            "axis": 0,
            "parts": [[part * len(steps) + made_by[name], name] for part in range(parts)],
        }
        for name in outputs
    ]
    waits_for = sorted({step for item in joined for step, _ in item["parts"]})
    join = PlanShard(
        index=len(repeated),
        kind=StepKind.JOIN,
        outputs=model.outputs,
        depends_on=waits_for,
        join=joined,
    )
    return [*repeated, join]


def _copy(
    steps: Sequence[PlanShard], batch_part: int, parts: int, tensor_parts: int
) -> Iterator[PlanShard]:
    offset = batch_part * len(steps)
    for step in steps:
        one = copy.copy(step)
        one.batch_part = batch_part
        one.index = step.index + offset
        one.depends_on = [index + offset for index in step.depends_on]
        one.join = [
            {**item, "parts": [[index + offset, name] for index, name in item["parts"]]}
            for item in step.join
        ]
        if step.part is not None:
            one.part = step.part + batch_part * tensor_parts
        one.cost = step.cost / parts
        if batch_part:
            one.copied_bytes = step.weight_bytes
        yield one
