"""Which steps of several sessions may be computed in one run of their model, to the same bits as alone.

Each session is a row of a batch then, with as many columns of keys as the longest has; what it lacks is
hidden, and a hidden key adds a zero. Graphs that webpool draws (zoo/layers/cached.py) give such a row the
numbers of the step alone, and nothing of another row, but for one sum: onnxruntime adds the values that a
position attends to in pieces of so many keys, each from zero, and the key of the step itself, the last
column, must lie in the same piece as alone.
"""

from __future__ import annotations

from typing import Final

from inference.core.generation.sessions import Step
from inference.core.generation.stages import Stage, Use

_PRODUCTS: Final = 16_384
"""Keys in a piece times numbers of a head, a power of two: MLAS's strides of K and N."""
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

    Those of one token: of a prompt a row would be as long as its longest piece, and a draft is not of each.
    `stage` is of a decoder that is `alike`. Whether the step follows on the cache is for the page to say.
    """
    if step.count != 1 or step.start == 0 or not stage.states or not stage.uses <= _USES:
        return None
    return step.start // piece(stage.states[0].shape[-1])
