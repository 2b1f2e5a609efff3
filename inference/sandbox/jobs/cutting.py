"""Cut a model into the steps of a plan, and write their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from inference.core.ports import Joined
from inference.documents import JsonObject
from inference.graph.cutting.blocks import plan_attention_feedforward
from inference.graph.cutting.cut import plan_layers
from inference.graph.splitting.tensor import plan_tensor
from inference.graph.splitting.write import write_steps
from inference.graph.steps import JoinSpec, Role, Step, WrittenStep
from inference.sandbox.frames import Answer

# What parts of blocks do, as history knows it.
_PARTS = (Role.ATTENTION, Role.FEED_FORWARD)


class WrongNumber(ValueError):
    """The graph makes another number of shards than was asked for."""


def cut(path: str, strategy: str, shards: int | None, folder: str) -> Answer:
    """The steps as fields of `PlanStep`; those of compute steps name a file in `folder` by its SHA-256.

    Raises:
        TooManyShards, TooManyParts, NothingToSplit, NoBlocks, WrongNumber: the graph does not allow it.
        InvalidModel: the file cannot be read.
    """
    planned = _planned(Path(path), strategy, shards)
    written = write_steps(Path(path), planned, Path(folder))
    return Answer([_row(step, planned) for step in written])


def _planned(path: Path, strategy: str, shards: int | None) -> list[Step]:
    if strategy == "layer":
        return plan_layers(path, shards or 1)
    if strategy == "tensor":
        return plan_tensor(path, shards or 1)
    planned = plan_attention_feedforward(path)
    if shards not in (None, len(planned)):
        raise WrongNumber(
            f"its blocks make {len(planned)} attention and feed-forward parts; {shards} shards "
            "were asked for: leave the number out"
        )
    return planned


def _row(written: WrittenStep, plan: Sequence[Step]) -> JsonObject:
    step, file = written.step, written.file
    row: JsonObject = {
        "index": step.index,
        "kind": step.kind.value,
        "part": step.part,
        "group": step.group or ("" if step.join else step.role.value),
        "work_type": step.role.value if step.role in _PARTS else "",
        "cost": step.cost,
        "inputs": [spec.to_json() for spec in step.inputs],
        "outputs": [spec.to_json() for spec in step.outputs],
        "depends_on": list(step.depends_on),
        "crossing_bytes": step.crossing_bytes,
        "join": [_join(step.join, plan).to_json()] if step.join else [],
    }
    if file is not None:
        row |= {
            "sha256": file.sha256,
            "file_bytes": file.bytes,
            "node_count": file.node_count,
            "weight_bytes": file.weight_bytes,
            "copied_bytes": file.copied_bytes,
        }
    return row


def _join(join: JoinSpec, plan: Sequence[Step]) -> Joined:
    made_by = {spec.name: step.index for step in plan for spec in step.outputs}
    parts = tuple((made_by[part], part) for part in join.parts)
    return Joined(join.output.name, join.op, join.axis, parts)
