"""Which steps of several sessions may be computed in one run of their model, to the same bits as alone.

Each session is a row of a batch then, with the columns of the longest. Graphs in which a position gives the same
numbers whatever else its step computes (zoo/layers/cached.py) give them in a row of a batch, too, but for one sum:
onnxruntime adds the values that a position attends to in pieces of so many keys, each from zero, and the key of
the step itself must lie in the same piece as alone.
"""

from __future__ import annotations

from typing import Final

from inference.core.generation.sessions import Step
from inference.core.generation.stages import Stage, Use

_PRODUCTS: Final = 16_384
"""Keys in a piece times columns of the values (MLAS's strides of K and N): more of the ones for fewer of the others."""
_FEWEST: Final = 16
_MOST: Final = 128
_USES: Final = {Use.TOKENS, Use.HIDDEN, Use.MASK, Use.POSITIONS, Use.ROWS}


def piece(head_size: int) -> int:
    """How many keys are summed in one go for heads of so many numbers, at most 128."""
    columns = _FEWEST
    while columns < min(head_size, _MOST):
        columns *= 2
    return _PRODUCTS // columns


def batch_of(stage: Stage, step: Step) -> int | None:
    """The batch that a step on wasm may be a row of; None: it is computed alone.

    Those of one token that follows: prompts are as good as alone, drafted positions are of other numbers.
    `stage` is of a decoder whose positions are alike (stages.py). It says nothing of others' epochs or places: the
    page does, which holds the caches.
    """
    if step.count != 1 or step.start == 0 or not stage.states:
        return None
    if any(item.use not in _USES for item in stage.inputs):
        return None
    return step.start // piece(stage.states[0].shape[-1])
