"""Join what parallel shards computed: parts of a batch, columns of a matrix, partial sums.

A join is a step of a plan like a shard, but the control worker does it: as the body of the chord that sent
the parts, or, when the chord lost a member, as a message of its own. It is idempotent.
"""

from __future__ import annotations

from collections.abc import Sequence

import redis.exceptions

from browsers import clock
from browsers.core.failures import Category
from inference.core.ports import Joined
from inference.graph.join import join
from inference.graph.steps import JoinSpec
from inference.ledger import claims, endings, results
from inference.models import PlanStep
from inference.store import tensors
from inference.store.ports import specs
from inference.store.tensors import TensorRef, WireTensor


def execute(step_id: int, fence: int) -> bool:
    """Claim the join, do it, record it; False when somebody else has it or it moved on."""
    step = claims.claim(step_id, fence, clock.now())
    if step is None:
        return False
    try:
        refs = claims.part_refs(step)
        joined = [
            _joined(item, step.plan_step, refs[item.tensor]) for item in step.plan_step.joined
        ]
        stored = tensors.store(step.run_id, joined)
    except (tensors.TensorLost, ValueError, redis.exceptions.OutOfMemoryError) as error:
        category = (
            Category.TENSOR_LOST if isinstance(error, tensors.TensorLost) else Category.INTERNAL
        )
        message = f"parts could not be joined: {error}"
        endings.end_failed(step.run, category=category, error=message)
        return False
    named = {tensor.name: ref for tensor, ref in zip(joined, stored, strict=True)}
    return results.record_join(step, named)


def _joined(item: Joined, step: PlanStep, refs: Sequence[TensorRef]) -> WireTensor:
    name = item.tensor
    parts = tensors.fetch([(name, ref) for ref in refs])
    if item.axis == 0:
        return join_rows(name, parts)
    (output,) = (spec for spec in specs(step.outputs) if spec.name == name)
    spec = JoinSpec(item.op, item.axis, tuple(part for _, part in item.parts), output)
    return tensors.encode_array(name, join(spec, [tensors.decode_array(part) for part in parts]))


def join_rows(name: str, parts: Sequence[WireTensor]) -> WireTensor:
    """Concatenate tensors along their first axis: in C order their bytes follow one another.

    Raises:
        ValueError: the parts are not alike but for their number of rows.
    """
    first = parts[0]
    for part in parts[1:]:
        if (part.dtype, part.shape[1:]) != (first.dtype, first.shape[1:]):
            raise ValueError(
                f"{name!r} cannot be joined: parts of {first.dtype}{list(first.shape)} and "
                f"{part.dtype}{list(part.shape)}"
            )
    rows = sum(part.shape[0] for part in parts)
    data = b"".join(part.data for part in parts)
    return WireTensor(name, first.dtype, (rows, *first.shape[1:]), data)
