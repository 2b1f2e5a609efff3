"""Where a run's inputs are, as `Run.inputs` keeps them: each whole, or in the parts of a split batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inference.documents import JsonObject, JsonView
from inference.models import Run
from inference.store.tensors import TensorRef


@dataclass(frozen=True)
class StoredInput:
    """`refs`: one, or, if it is `split`, one for each part of the batch."""

    refs: tuple[TensorRef, ...]
    split: bool = False

    def for_part(self, batch_part: int | None) -> TensorRef:
        """What a step reads that computes this part of the batch; None: the whole batch."""
        return self.refs[batch_part or 0] if self.split else self.refs[0]


def inputs_of(run: Run) -> dict[str, StoredInput]:
    return {name: _from_json(item) for name, item in run.inputs.items()}


def refs_in(inputs: JsonView) -> list[TensorRef]:
    """Every tensor that `Run.inputs` names."""
    return [ref for item in inputs.values() for ref in _from_json(item).refs]


def batch_of(run: Run, batch_part: int | None) -> TensorRef | None:
    """One of the inputs whose rows are the batch, or of that part of it; None where there is none."""
    named = next((name for name in run.model.batch.inputs if name in run.inputs), None)
    return None if named is None else _from_json(run.inputs[named]).for_part(batch_part)


def to_json(refs: Sequence[TensorRef], *, split: bool) -> JsonObject:
    return {"parts": [ref.to_json() for ref in refs]} if split else refs[0].to_json()


def _from_json(item: JsonView) -> StoredInput:
    refs = tuple(TensorRef.from_json(part) for part in item.get("parts", [item]))
    return StoredInput(refs, split="parts" in item)
